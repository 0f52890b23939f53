import { appendFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { Duck } from '../../datasets/duck.ts';
import { copyWholeLines } from '../../datasets/sources/whole-lines.ts';
import { COLUMNS, csvPair, interactionsCsv, itemsCsv, prepare, prepareAsOf, temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const DAY = 86_400;
const START = Date.UTC(2026, 0, 1) / 1000;
const ROWS = Array.from({ length: 40 }, (_, n): [string, string, number] => [
  `u${n % 4}`,
  `i${(n * 3) % 5}`,
  START + n * 3600,
]);
const ITEMS = itemsCsv(['i0', 'i1', 'i2', 'i3', 'i4']);
const asOf = new Date((START + 30 * DAY) * 1000).toISOString();
const plain = await prepare(await csvPair(folder, interactionsCsv(ROWS), ITEMS), folder);

/** Users as numbers, as a data lake has them. */
const numbered = await prepare(
  await csvPair(folder, interactionsCsv(ROWS.map(([u, i, t]) => [u.slice(1), i, t])), ITEMS),
  folder,
);

describe('an appended CSV file', () => {
  const [first, second] = [
    interactionsCsv(ROWS.slice(0, 30)),
    interactionsCsv(ROWS.slice(30)).split('\n').slice(1).join('\n'),
  ];
  const target = join(folder, 'copy.csv');
  const wholeLines = async (bytes: Uint8Array, name = 'torn.csv') => {
    await writeFile(join(folder, name), bytes);
    const torn = await copyWholeLines(join(folder, name), target);
    return { text: await readFile(target, 'utf8'), torn };
  };

  it('never gives half a row, at whatever byte the writer is', async () => {
    const text = `${interactionsCsv(ROWS.slice(0, 3))}"é\nx",i1,3\n`;
    const bytes = Buffer.from(text);
    for (let end = 0; end <= bytes.length; end++) {
      const whole = bytes.subarray(0, end).lastIndexOf('\n') + 1;
      expect(await wholeLines(bytes.subarray(0, end))).toEqual({
        text: bytes.subarray(0, whole).toString(),
        torn: end - whole,
      });
    }
  });

  it('as gzip gives the whole lines of what can be unpacked, at whatever byte the writer is', async () => {
    const bytes = Buffer.concat([gzipSync(first), gzipSync(second)]);
    const seen = new Set<string>();
    for (let end = 20; end <= bytes.length; end++) {
      const { text } = await wholeLines(bytes.subarray(0, end), 'torn.csv.gz');
      expect((first + second).startsWith(text)).toBe(true);
      expect(text === '' || text.endsWith('\n')).toBe(true);
      seen.add(text);
    }
    expect(seen).toContain(first);
    expect(seen).toContain(first + second);
  });

  it('is read as a run needs it while its last row is being written, and whole the next time', async () => {
    for (const pack of [(text: string) => Buffer.from(text), (text: string) => gzipSync(text)]) {
      const source = await csvPair(folder, pack(first), ITEMS);
      const half = pack(second).subarray(0, pack(second).length / 2);
      await appendFile(source.csv.interactions, half);
      const torn = await prepareAsOf(source, folder, { asOf });
      expect(torn.card.counts['rows']).toBeGreaterThanOrEqual(30);
      expect(torn.card.counts['rows']).toBeLessThan(40);
      const whole = await csvPair(folder, pack(first), ITEMS);
      await appendFile(whole.csv.interactions, pack(second));
      const data = await prepareAsOf(whole, folder, { asOf });
      expect(Buffer.compare(data.windowsTrain, plain.windowsTrain)).toBe(0);
      expect(Buffer.compare(data.interactionBytes, plain.interactionBytes)).toBe(0);
    }
  });

  it('that is cut inside a quoted value is tried again, not half read', async () => {
    const text = `user_id,item_id,timestamp,note\n${ROWS.map((row) => `${row.join(',')},"x"\n`).join('')}u1,i1,1,"two\n`;
    const source = await csvPair(folder, text, ITEMS);
    await expect(prepareAsOf(source, folder, { asOf })).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
      retryable: true,
      message: expect.stringMatching(/the quote at byte \d+ of \S+\/interactions\.csv is never closed/),
    });
  });

  it('that is missing or damaged is named, and may be tried again', async () => {
    const source = await csvPair(folder, gzipSync(interactionsCsv(ROWS)), ITEMS);
    const damaged = await readFile(source.csv.interactions);
    damaged.fill(0x55, 40, 80);
    await writeFile(source.csv.interactions, damaged);
    const place = { retryable: true, message: expect.stringContaining(source.csv.interactions) };
    await expect(prepareAsOf(source, folder, { asOf })).rejects.toMatchObject({ code: 'DATA_UNREADABLE', ...place });
    await rm(source.csv.interactions);
    await expect(prepareAsOf(source, folder, { asOf })).rejects.toMatchObject({ code: 'DATA_NOT_FOUND', ...place });
  });
});

describe('a folder of Parquet files', () => {
  const columns = { ...COLUMNS, user: 'who', item: 'what', time: 'when' };
  /** One file of some rows; users as numbers and times as timestamps, the way data lakes hold them. */
  async function writeParquet(path: string, rows: typeof ROWS, select?: string): Promise<void> {
    const duck = await Duck.open({ tmpDir: folder, memoryLimit: '200MB', threads: 1 });
    const values = rows.map(([user, item, time]) => `(${user.slice(1)}, '${item}', ${time})`).join(', ');
    const typed = select ?? 'u::BIGINT AS who, i AS what, make_timestamp(t::BIGINT * 1000000) AS "when"';
    try {
      await duck.run(`COPY (SELECT ${typed} FROM (VALUES ${values}) AS rows(u, i, t)) TO '${path}' (FORMAT parquet)`);
    } finally {
      await duck.close();
    }
  }
  const lake = join(folder, 'lake [1]');

  it('is read file by file in the order of their paths, folders inside among them, unfinished ones not', async () => {
    await mkdir(join(lake, 'day=2'), { recursive: true });
    await mkdir(join(lake, '_temporary'));
    await writeParquet(join(lake, 'day=2', 'b.parquet'), ROWS.slice(15));
    await writeParquet(join(lake, 'a.parquet'), ROWS.slice(0, 15));
    await writeFile(join(lake, '_temporary', 'c.parquet'), 'half');
    await writeFile(join(lake, '.d.parquet'), 'half');
    await writeFile(join(lake, 'notes.txt'), 'x');
    const items = join(folder, 'items.parquet');
    await writeParquet(
      items,
      ROWS.slice(0, 5),
      "'i' || (row_number() OVER () - 1) AS item_id, 'T i' || (row_number() OVER () - 1) AS title",
    );
    const data = await prepareAsOf({ parquet: { folder: lake, items, columns } }, folder, { asOf });
    for (const table of ['windowsTrain', 'windowsTest', 'items', 'interactionBytes'] as const)
      expect(Buffer.compare(data[table], numbered[table]), table).toBe(0);
    expect(data.card).toMatchObject({ source: { kind: 'parquet' }, timeUnit: 'ms' });
  });

  it('is cut at asOf, a file that is added later changes nothing', async () => {
    const cut = { asOf: new Date((START + 24 * 3600) * 1000).toISOString() };
    const source = { parquet: { folder: lake, columns: { ...columns, title: 'what' } } };
    const before = await prepareAsOf(source, folder, cut);
    expect(before.card.counts['rows']).toBe(25);
    await writeParquet(join(lake, 'c.parquet'), [['u1', 'i9', START + 50 * 3600]]);
    const after = await prepareAsOf(source, folder, cut);
    expect(after.digest).toBe(before.digest);
    expect(after.leftOut.afterAsOf).toBe(16);
    await rm(join(lake, 'c.parquet'));
  });

  it('takes titles from beside the interactions when there are no items', async () => {
    const source = { parquet: { folder: lake, columns: { ...columns, title: 'what' } } };
    const data = await prepareAsOf(source, folder, {});
    expect(data.itemRows.map(({ title }) => title)).toEqual(['i0', 'i1', 'i2', 'i3', 'i4']);
    expect(Buffer.compare(data.windowsTrain, numbered.windowsTrain)).toBe(0);
  });

  it('names what is missing, half written, empty or without a column', async () => {
    const read = (source: string, change = {}) =>
      prepareAsOf({ parquet: { folder: source, columns: { ...columns, title: 'what', ...change } } }, folder, { asOf });
    await expect(read(join(folder, 'no-lake'))).rejects.toMatchObject({
      code: 'DATA_NOT_FOUND',
      retryable: true,
      message: expect.stringContaining('no-lake'),
    });
    await expect(read(lake, { user: 'user_id' })).rejects.toMatchObject({
      code: 'DATA_COLUMN_MISSING',
      retryable: false,
      message: expect.stringMatching(/"user_id" in the Parquet files of .*found "who", "what", "when"/),
    });
    await mkdir(join(folder, 'empty-lake'));
    await expect(read(join(folder, 'empty-lake'))).rejects.toMatchObject({ code: 'DATA_EMPTY' });
    const whole = await readFile(join(lake, 'a.parquet'));
    await writeFile(join(lake, 'e.parquet'), whole.subarray(0, whole.length / 2));
    await expect(read(lake)).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
      retryable: true,
      message: expect.stringContaining('e.parquet'),
    });
    await rename(join(lake, 'e.parquet'), join(lake, '_e.parquet'));
    expect((await read(lake)).card.counts['rows']).toBe(40);
  });
});
