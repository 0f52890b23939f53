import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { countPersonRows, hasPersons } from '../../datasets/person-rows.ts';
import { SCHEMAS } from '../../datasets/schemas.ts';
import { encodeDistances, encodeTitles, writeTableFile } from '../../datasets/tables.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-person-rows-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('Tables of persons are those with a column of users or of windows.', () => {
  const names = Object.keys(SCHEMAS).filter(hasPersons);
  expect(names).toEqual(
    expect.arrayContaining(['interactions', 'windows', 'distilled', 'distances', 'predictions', 'recommendations']),
  );
  for (const name of ['items', 'titles', 'curriculum']) expect(names).not.toContain(name);
  expect([undefined, '', 'toString', 'embeddings'].map(hasPersons)).toEqual([false, false, false, false]);
});

test('Rows are counted over every batch of a file, by the whole id.', async () => {
  const path = join(folder, 'interactions');
  const batch = (userId: string[]) => ({
    userId,
    item: new Int32Array(userId.length),
    rating: new Float64Array(userId.length),
    timeMs: new BigInt64Array(userId.length),
    sourceRow: new BigInt64Array(userId.length),
  });
  async function* batches() {
    for (const users of [['7', '77', '7'], ['007', '7 '], ['7']]) yield batch(users);
  }
  await writeTableFile(path, 'interactions', batches());
  const counts = ['7', '77', '007', '70', ''].map((user) => countPersonRows(path, 'interactions', user));
  expect(await Promise.all(counts)).toEqual([3, 1, 1, 0, 0]);
});

test('The user of a window is all before its last colon.', async () => {
  const path = join(folder, 'distances');
  const row = (windowId: string) => ({ windowId, text: 'x', distance: 1 });
  await writeFile(path, encodeDistances(['a:1', 'a:b:2', 'a:b:3', 'b:4'].map(row)));
  const counts = ['a', 'a:b', 'b', 'a:b:2'].map((user) => countPersonRows(path, 'distances', user));
  expect(await Promise.all(counts)).toEqual([1, 2, 1, 0]);
});

test('A file without the column is an error that names it.', async () => {
  const path = join(folder, 'titles');
  await writeFile(path, encodeTitles([{ title: 'x', firstItem: 0, popularity: 0 }]));
  await expect(countPersonRows(path, 'windows', '7')).rejects.toMatchObject({ code: 'TABLE_SCHEMA' });
});
