import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tableFromIPC } from 'apache-arrow';
import { expect, it } from 'vitest';
import { Duck } from '../../datasets/duck.ts';
import { type ResultRow, requireFolderOf, requireOtherFile, writeResultFile } from '../../datasets/result-file.ts';
import { temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const COLUMNS = [
  { name: 'user_id', type: 'text' },
  { name: 'rank', type: 'integer' },
  { name: 'score', type: 'number' },
] as const;
const ROWS: ResultRow[] = [
  ['a, "b"', 1, -0.5],
  ['007', 2, 1e-9],
];

it('writes the same rows as CSV, Parquet and Arrow', async () => {
  const path = (format: string) => join(folder, `rows.${format}`);
  for (const format of ['csv', 'parquet', 'arrow']) await writeResultFile(path(format), COLUMNS, ROWS);
  expect(await readFile(path('csv'), 'utf8')).toBe('user_id,rank,score\n"a, ""b""",1,-0.5\n007,2,1e-09\n');
  const duck = await Duck.open({ tmpDir: folder, memoryLimit: '200MB', threads: 1 });
  const parquet = await duck.rows(`SELECT user_id, rank, score FROM read_parquet('${path('parquet')}')`);
  await duck.close();
  expect(parquet.map((row) => Object.values(row))).toEqual(ROWS);
  const arrow = tableFromIPC(await readFile(path('arrow')));
  expect(arrow.toArray().map((row) => [...Object.values(row?.toJSON())])).toEqual(ROWS);
});

it('writes large tables and empty ones', async () => {
  const path = join(folder, 'many.arrow');
  await writeResultFile(
    path,
    COLUMNS,
    Array.from({ length: 20_000 }, (_, i) => [`u${i}`, i, i / 2] as const),
  );
  const table = tableFromIPC(await readFile(path));
  expect(table.numRows).toBe(20_000);
  expect(table.get(19_999)?.toJSON()).toEqual({ user_id: 'u19999', rank: 19_999, score: 9999.5 });
  await writeResultFile(path, COLUMNS, []);
  expect(tableFromIPC(await readFile(path)).numRows).toBe(0);
});

it('leaves the old file and nothing else when the rows fail half-way, and names a folder that is not there', async () => {
  const own = join(folder, 'own');
  await mkdir(own);
  for (const format of ['csv', 'arrow']) {
    const path = join(own, `rows.${format}`);
    await writeFile(path, 'old');
    function* failing(): Generator<ResultRow> {
      yield ['a', 1, 2];
      throw new Error('half-way');
    }
    await expect(writeResultFile(path, COLUMNS, failing())).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITTEN' });
    expect(await readFile(path, 'utf8')).toBe('old');
  }
  expect(await readdir(own)).toEqual(['rows.arrow', 'rows.csv']);
  await expect(writeResultFile(join(folder, 'none', 'x.arrow'), COLUMNS, ROWS)).rejects.toMatchObject({
    code: 'OUTPUT_NOT_WRITTEN',
  });
  await expect(writeResultFile('x.xlsx', COLUMNS, ROWS)).rejects.toMatchObject({ code: 'USAGE' });
});

it('is refused before anything is computed for it where it cannot be written', () => {
  const gone = join(folder, 'gone', 'recs.csv');
  expect(() => requireFolderOf(gone)).toThrow(expect.objectContaining({ code: 'OUTPUT_NOT_WRITTEN' }));
  expect(() => requireFolderOf(join(folder, 'recs.csv'))).not.toThrow();
  expect(() => requireOtherFile(gone, gone)).toThrow(expect.objectContaining({ code: 'USAGE' }));
});
