import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Field, Int64, Schema, Utf8 } from 'apache-arrow';
import { describe, expect, it } from 'vitest';
import { Duck } from '../../../datasets/duck.ts';
import { convertData } from '../../../datasets/inspect/convert.ts';
import { inspectData } from '../../../datasets/inspect/inspect-data.ts';
import { encodeTable } from '../../../datasets/tables.ts';
import { SoftflowError } from '../../../errors.ts';
import { temporaryFolder } from '../fixtures.ts';

const folder = await temporaryFolder();

async function withDuck<T>(work: (duck: Duck) => Promise<T>): Promise<T> {
  const duck = await Duck.open({ tmpDir: folder, memoryLimit: '200MB', threads: 1 });
  try {
    return await work(duck);
  } finally {
    await duck.close();
  }
}

async function inspect(name: string, content: string | Uint8Array, items?: string) {
  await writeFile(join(folder, name), content);
  const beside = items === undefined ? undefined : join(folder, `${name}.items`);
  if (beside !== undefined) await writeFile(beside, items as string);
  return withDuck((duck) => inspectData(join(folder, name), duck, beside));
}

const countOf = ({ checks }: Awaited<ReturnType<typeof inspect>>, id: string) =>
  checks.find((check) => check.id === id)?.count;

const INTERACTIONS = `user_id,item_id,timestamp
u,007,1700000000
u,b,1700000060
u,b,1700000060
v,b,1700000060
v,c,1700000060
v,x,1700000120
,b,1
v,b,never
`;

describe('inspectData', () => {
  it('counts, finds the span of time, and gives a mapping whose defaults are left out', async () => {
    const found = await inspect('a.csv', INTERACTIONS, 'item_id,title\n7,Seven\nb,Same\nc,Same\n');
    expect(found.counts).toEqual({
      ...{ rows: 8, unreadable: 0, missingId: 1, badTime: 1, usable: 6, users: 2, items: 4 },
    });
    expect(found.times).toEqual({ unit: 's', first: '2023-11-14T22:13:20.000Z', last: '2023-11-14T22:15:20.000Z' });
    expect(found.mapping).toEqual({
      data: { source: { csv: { interactions: join(folder, 'a.csv'), items: join(folder, 'a.csv.items') } } },
      notes: [],
    });
  });

  it('finds duplicates, ties, repeats, equal titles, and items without a title', async () => {
    const found = await inspect('b.csv', INTERACTIONS, 'item_id,title\n7,Seven\nb,Same\nc,Same\n');
    expect(countOf(found, 'duplicateRows')).toBe(1);
    expect(countOf(found, 'tiesInTime')).toBe(4);
    expect(countOf(found, 'targetInHistory')).toBe(1);
    expect(countOf(found, 'equalTitles')).toBe(1);
    const untitled = found.checks.find(({ id }) => id === 'itemsWithoutTitle');
    expect(untitled).toMatchObject({ count: 2, examples: ['007', 'x'] });
    expect(untitled?.text).toContain('1 of them have one under the same id with other leading zeros');
  });

  it('finds train rows after test rows and rows in both, where the file has a split of its own', async () => {
    const rows = ['u,a,1,train', 'u,b,5,train', 'u,c,4,test', 'u,a,6,test'];
    const found = await inspect('c.csv', `user_id,item_id,timestamp,split\n${rows.join('\n')}\n`);
    expect(countOf(found, 'trainAfterTest')).toBe(1);
    expect(countOf(found, 'sharedRows')).toBe(1);
  });

  it('maps a split column, and parts that lie beside the train part', async () => {
    const column = await inspect('f.csv', 'user_id,item_id,timestamp,fold\nu,a,1,train\nu,b,2,test\n');
    expect(column.mapping.data?.source).toMatchObject({ csv: { columns: { split: 'fold' } } });
    expect(column.mapping.notes.at(-1)).toMatch(/^The data is split already \(column fold\)/);
    const rows = 'user_id,item_id,timestamp\nu,a,1\n';
    for (const name of ['Toys.test.csv', 'Toys.val.csv', 'constraints.csv']) await writeFile(join(folder, name), rows);
    const parts = await inspect('Toys.train.csv', rows);
    const [valid, test] = [join(folder, 'Toys.val.csv'), join(folder, 'Toys.test.csv')];
    expect(parts.mapping.data?.source).toMatchObject({ csv: { valid, test } });
    expect((await inspect('constraints.csv', rows)).mapping.data?.source).not.toHaveProperty('csv.test');
    await writeFile(join(folder, 'y.item'), 'item_id:token\ttitle:token_seq\na\tA\n');
    const atomic = 'user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n';
    await writeFile(join(folder, 'y.test.inter'), atomic);
    expect((await inspect('y.train.inter', atomic)).mapping.data?.source).toMatchObject({
      recbole: { name: 'y', benchmark: ['train', 'test'] },
    });
  });

  it('finds a target in the history that stands beside it', async () => {
    const rows = ['u;a;1;b c', "u;b;2;['a', 'b']", 'u;c;3;cc'];
    const found = await inspect('d.csv', `user_id;item_id;timestamp;history\n${rows.join('\n')}\n`);
    expect(countOf(found, 'targetInHistory')).toBe(1);
    expect(found.mapping.data?.source).toMatchObject({ csv: { delimiter: ';' } });
  });

  it('knows MovieLens, RecBole, JSON lines and gzip, and says how to convert what no recipe reads', async () => {
    await writeFile(join(folder, 'u.item'), Buffer.from('2|Caf\u00e9 (1995)|x\n', 'latin1'));
    const movielens = await inspect('u.data', '1\t2\t3\t881250949\n1\t3\t3\t881250950\n');
    expect(movielens.file).toMatchObject({ format: 'movielens', header: false, delimiter: '\t' });
    expect(movielens.items).toMatchObject({ encoding: 'latin-1', roles: { item: 'column1', title: 'column2' } });
    expect(movielens.mapping.notes).toHaveLength(2);
    expect(movielens.mapping.notes[0]).toMatch(/softflow data convert \S+u\.data -o interactions\.csv$/);
    await writeFile(join(folder, 'x.item'), 'item_id:token\ttitle:token_seq\nb\tB "quoted\n');
    const recbole = await inspect('x.inter', 'user_id:token\titem_id:token\ttimestamp:float\nu\tb\t1\n');
    expect(recbole.mapping.data).toEqual({
      source: { recbole: { folder, name: 'x', titleField: 'title', yearField: null } },
    });
    const lines = gzipSync('{"user_id":"u","asin":"b","timestamp":1700000000000,"title":"bad","text":"!"}\n');
    const jsonl = await inspect('r.jsonl.gz', lines);
    expect(jsonl).toMatchObject({ file: { format: 'jsonl', gzip: true }, kind: 'interactions', times: { unit: 'ms' } });
    expect(jsonl.mapping.notes[0]).toContain('it is JSON lines');
  });

  it('knows Arrow files, and converts them; a damaged one is refused', async () => {
    const path = join(folder, 'rows.arrow');
    const schema = new Schema([
      new Field('user_id', new Utf8(), false),
      new Field('item_id', new Utf8(), false),
      new Field('timestamp', new Int64(), false),
    ]);
    const bytes = encodeTable(schema, { user_id: ['u', 'v'], item_id: ['007', '7'], timestamp: [1n, 2n] });
    const found = await inspect('rows.arrow', bytes);
    expect(found).toMatchObject({ file: { format: 'arrow' }, counts: { usable: 2, items: 2 }, times: { unit: 's' } });
    expect(found.mapping.notes[0]).toContain('it is an Arrow file');
    const output = join(folder, 'from-arrow.csv');
    await withDuck((duck) => convertData(path, output, duck));
    expect(await readFile(output, 'utf8')).toBe('user_id,item_id,timestamp\nu,007,1000\nv,7,2000\n');
    await expect(inspect('bad.arrow', bytes.slice(0, 200))).rejects.toMatchObject({ code: 'DATA_UNREADABLE' });
  });

  it('knows Parquet with dates, and titles beside the interactions', async () => {
    const path = join(folder, 'p.parquet');
    const found = await withDuck(async (duck) => {
      await duck.run(`COPY (SELECT 'u' AS user_id, 7 AS item_id, TIMESTAMP '2024-01-02 03:04:05' AS "timestamp", 'Seven' AS title)
        TO '${path}' (FORMAT parquet)`);
      return inspectData(path, duck);
    });
    expect(found).toMatchObject({
      kind: 'interactions with titles',
      times: { first: '2024-01-02T03:04:05.000Z' },
      mapping: { data: { source: { parquet: { folder } } } },
    });
  });

  it('refuses what is no table, with a code, and leaves no file behind', async () => {
    const before = await readdir(folder);
    for (const [content, code] of [
      ['', 'DATA_EMPTY'],
      [Buffer.from([1, 0, 2, 0, 3]), 'DATA_UNREADABLE'],
      [Buffer.from('PAR1 but no Parquet file PAR1'), 'DATA_UNREADABLE'],
      [gzipSync('a,b\n1,2\n').subarray(0, 20), 'DATA_UNREADABLE'],
      ['{"a": 1', 'DATA_COLUMN_MISSING'],
      ['a,b\nx,y\n', 'DATA_COLUMN_MISSING'],
      ['user_id,item_id\n,\n', 'DATA_EMPTY'],
    ] as const) {
      const error = await inspect('hostile', content).catch((cause: unknown) => cause);
      expect(error, String(content)).toBeInstanceOf(SoftflowError);
      expect([code, 'DATA_UNREADABLE'], String(content)).toContain((error as SoftflowError).code);
    }
    expect((await readdir(folder)).filter((name) => !before.includes(name))).toEqual(['hostile']);
  });

  it('takes column names with quotes and statements in them for names', async () => {
    const name = 'user_id"; DROP TABLE interactions; --';
    const csv = `"user_id",item_id,timestamp,"${name.replaceAll('"', '""')}"\nu,b,1,x\n`;
    const found = await inspect('injection.csv', csv);
    expect(found.file.columns).toContain(name);
    expect(found.counts['usable']).toBe(1);
  });
});

describe('convertData', () => {
  it('writes no file over the one that it reads', async () => {
    const path = join(folder, 'same.csv');
    await writeFile(path, 'user,item,time\nzoe,1,1\n');
    await expect(withDuck((duck) => convertData(path, path, duck))).rejects.toMatchObject({ code: 'USAGE' });
    expect(await readFile(path, 'utf8')).toBe('user,item,time\nzoe,1,1\n');
  });

  it('writes what a recipe reads: a header, UTF-8, times in milliseconds, without the rows of no use', async () => {
    const from = join(folder, 'u.data');
    await writeFile(from, '1\t2\t3\t881250949\n1\t3\t4\t881250950\n\t3\t4\t881250950\n');
    const to = join(folder, 'converted.csv');
    expect(await withDuck((duck) => convertData(from, to, duck))).toEqual({
      columns: ['user_id', 'item_id', 'rating', 'timestamp'],
      rows: 2,
    });
    const again = await withDuck((duck) => inspectData(to, duck));
    expect(again).toMatchObject({
      counts: { rows: 2, usable: 2 },
      times: { unit: 'ms', first: '1997-12-04T15:55:49.000Z' },
      ratings: { min: 3, max: 4 },
    });
    const items = join(folder, 'items.csv');
    await writeFile(join(folder, 'u.item'), Buffer.from('2|Caf\u00e9|x\n', 'latin1'));
    await withDuck((duck) => convertData(join(folder, 'u.item'), items, duck));
    expect((await withDuck((duck) => inspectData(items, duck))).file.encoding).toBe('utf-8');
  });
});
