import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Duck } from '../../datasets/duck.ts';
import { historiesOf, readHistories } from '../../datasets/histories.ts';
import { writeResultFile } from '../../datasets/result-file.ts';
import { temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const items = ['a', 'b', 'c', '007'].map((itemId) => ({ itemId }));

async function read(
  name: string,
  content: string | Uint8Array,
  options: { historyLength?: number; columns?: { user?: string; item?: string; time?: string } } = {},
) {
  await writeFile(join(folder, name), content);
  const duck = await Duck.open({ tmpDir: folder, memoryLimit: '200MB', threads: 1 });
  try {
    return await readHistories(join(folder, name), { items, historyLength: 3, duck, ...options });
  } finally {
    await duck.close();
  }
}

const histories = ({ users, windows }: Awaited<ReturnType<typeof read>>) =>
  Object.fromEntries(users.map((user, i) => [user, windows[i]?.history]));

describe('readHistories', () => {
  it('orders by time, equal times as in the file, and keeps users in the order in which they come', async () => {
    const csv = 'user_id,item_id,timestamp\nzoe,c,9\nmax,a,1\nzoe,a,2\nzoe,b,9\nzoe,007,1\n';
    const found = await read('a.csv', csv, { historyLength: 10 });
    expect(found.users).toEqual(['zoe', 'max']);
    expect(histories(found)).toEqual({ zoe: [3, 0, 2, 1], max: [0] });
    expect(found.windows.map(({ windowId, userId }) => [windowId, userId])).toEqual([
      ['0', ''],
      ['1', ''],
    ]);
  });

  it('keeps the last items only, as training does, and says for how many users', async () => {
    const found = await read('b.csv', 'user,item,time\nu,a,4\nu,b,1\nu,c,3\nu,007,2\nv,a,1\n');
    expect(histories(found)).toEqual({ u: [3, 2, 0], v: [0] });
    expect(found.report).toMatchObject({ users: 2, usersCut: 1, rows: 5, badRows: 0 });
  });

  it('reports unknown items, rows that cannot be used, and users of whom nothing is left', async () => {
    const csv = 'user_id,item_id,timestamp\nu,a,1\nu,7,2\nu,zzz,3\nw,zzz,1\n,a,1\nu,,1\nu,b,soon\nu,b\n';
    const found = await read('c.csv', csv);
    expect(histories(found)).toEqual({ u: [0] });
    expect(found.report).toEqual({
      ...{ rows: 8, badRows: 4, unknownRows: 3, unknownItems: 2, unknownExamples: ['7', 'zzz'] },
      ...{ users: 2, usersWithoutHistory: 1, usersWithoutHistoryExamples: ['w'], usersCut: 0 },
    });
  });

  it('goes by the order of the file without times, and reads dates, tabs and JSON lines', async () => {
    expect(histories(await read('d.tsv', 'user\titem\nu\tb\nu\ta\n'))).toEqual({ u: [1, 0] });
    expect(histories(await read('e.csv', 'user_id,item_id,date\nu,b,2024-02-01\nu,a,2024-01-01\n'))).toEqual({
      u: [0, 1],
    });
    const lines = '{"user_id":1,"item_id":"b","timestamp":2}\n{"user_id":1,"item_id":"007","timestamp":1}\n';
    expect(histories(await read('f.jsonl', lines))).toEqual({ 1: [3, 1] });
  });

  it('reads Arrow files and Parquet files alike', async () => {
    const arrow = join(folder, 'g.arrow');
    const columns = (['user_id', 'item_id'] as const).map((name) => ({ name, type: 'text' as const }));
    await writeResultFile(
      arrow,
      [...columns, { name: 'timestamp', type: 'integer' }],
      [
        ['u', 'a', 2],
        ['v', 'b', 1],
        ['u', 'c', 1],
      ],
    );
    const bytes = await readFile(arrow);
    expect(histories(await read('g.arrow', bytes))).toEqual({ u: [2, 0], v: [1] });
    await expect(read('h.arrow', bytes.subarray(0, bytes.length - 60))).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
    });
    const duck = await Duck.open({ tmpDir: folder, memoryLimit: '200MB', threads: 1 });
    const parquet = join(folder, 'g.parquet');
    await duck.run(
      `COPY (FROM (VALUES ('u','a',2),('v','b',1),('u','c',1)) AS t(user_id, item_id, "timestamp")) TO '${parquet}' (FORMAT parquet)`,
    );
    const found = await readHistories(parquet, { items, historyLength: 3, duck });
    await duck.close();
    expect(histories(found)).toEqual({ u: [2, 0], v: [1] });
  });

  it('takes column names, and says what it found when they are not there', async () => {
    const csv = 'who,what\nu,a\n';
    expect(histories(await read('i.csv', csv, { columns: { user: 'who', item: 'what' } }))).toEqual({ u: [0] });
    await expect(read('i.csv', csv)).rejects.toMatchObject({
      code: 'DATA_COLUMN_MISSING',
      message: expect.stringContaining('found who, what; name them: --columns'),
    });
    await expect(read('i.csv', csv, { columns: { user: 'who', item: 'x' } })).rejects.toThrow('Expected columns x');
    await expect(read('j.csv', 'user_id,item_id\n')).rejects.toMatchObject({ code: 'DATA_EMPTY' });
  });
});

describe('historiesOf', () => {
  it('takes the last items of each user of a table in the order of time', () => {
    const { users, windows } = historiesOf({ userId: ['u', 'v', 'u', 'u'], item: [1, 2, 3, 4] }, 2);
    expect(users).toEqual(['u', 'v']);
    expect(windows.map(({ history }) => history)).toEqual([[3, 4], [2]]);
  });
});
