import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { digestOfSource } from '../../datasets/sources/source.ts';
import { COLUMNS, csvPair, interactionsCsv, itemsCsv, prepare, temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const ROWS: [string, string, number][] = [
  ['007', 'a', 1],
  ['007', 'b', 2],
  ['007', 'c', 3],
  ['7', 'c', 4],
  ['7', 'b', 5],
  ['7', '01', 6],
  ['7', '1', 7],
  ['007', '1', 8],
];
const ITEMS = itemsCsv(['a', 'b', 'c', '1', '01']);

describe('CSV', () => {
  it('keeps ids as text, so that 007 is not 7', async () => {
    const data = await prepare(await csvPair(folder, interactionsCsv(ROWS), ITEMS), folder);
    expect(data.card.counts).toMatchObject({ users: 2, items: 5 });
    expect(new Set(data.rows.columns['userId'] as string[])).toEqual(new Set(['007', '7']));
    expect(data.itemRows.map((item) => item.itemId)).toEqual(['01', '1', 'a', 'b', 'c']);
  });

  it('reads a byte-order mark, CRLF, quotes, commas and line breaks inside quotes, and Unicode', async () => {
    const interactions = `\ufeff"user_id",item_id,timestamp,"a ""note"""\r\n${ROWS.map(
      ([user, item, time]) => `"${user}",${item},${time},"x, ""y""\r\nz"\r\n`,
    ).join('')}`;
    const items =
      'title,item_id\r\n"Amélie, ""Le"" film",a\r\n"Two\r\nlines",b\r\n千と千尋の神隠し,c\r\n🎬 Reel,1\r\n5" Floppy,01';
    const data = await prepare(await csvPair(folder, interactions, items), folder);
    expect(data.card.counts).toMatchObject({ rows: 8, unreadable: 0, kept: 8 });
    const titles = Object.fromEntries(data.itemRows.map((item) => [item.itemId, item.title]));
    expect(titles).toEqual({
      a: 'Amélie, "Le" film',
      b: 'Two lines',
      c: '千と千尋の神隠し',
      '1': '🎬 Reel',
      '01': '5" Floppy',
    });
  });

  it('gives the same tables from gzip, from tabs and from a path with glob characters', async () => {
    const plain = await prepare(await csvPair(folder, interactionsCsv(ROWS), ITEMS), folder);
    const gz = await csvPair(folder, gzipSync(interactionsCsv(ROWS)), gzipSync(ITEMS), {
      names: ['interactions.csv.gz', 'items.csv.gz'],
    });
    const odd = join(folder, "it's [a]*?");
    await mkdir(odd);
    const tsv = await csvPair(odd, interactionsCsv(ROWS).replaceAll(',', '\t'), ITEMS.replaceAll(',', '\t'), {
      delimiter: '\t',
      names: ['in[t].tsv', 'items*.tsv'],
    });
    for (const source of [gz, tsv]) {
      const data = await prepare(source, folder);
      expect(Buffer.compare(data.windowsTrain, plain.windowsTrain)).toBe(0);
      expect(Buffer.compare(data.interactionBytes, plain.interactionBytes)).toBe(0);
    }
  });

  it('counts rows that cannot be read and keeps the others', async () => {
    const text = Buffer.concat([
      Buffer.from(interactionsCsv(ROWS)),
      Buffer.from('short\nx,a,1,2\n"q"r,a,1\n'),
      Buffer.from([0x62, 0xff, 0x2c, 0x61, 0x2c, 0x31, 0x0a]),
    ]);
    const data = await prepare(await csvPair(folder, text, ITEMS), folder, { maxBadRows: 0.5 });
    expect(data.card.counts).toMatchObject({ rows: 12, unreadable: 4, kept: 8 });
  });

  it('refuses a quote that is never closed instead of losing the rest of the file', async () => {
    const source = await csvPair(
      folder,
      interactionsCsv(ROWS),
      'item_id,title\na,"A ""quoted"" one"\nb,"B\nc,C\n1,D\n',
    );
    await expect(prepare(source, folder)).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
      message: expect.stringContaining('the quote at byte 37 of'),
    });
  });

  it('lists the columns that are there when one is missing, and the likely delimiter', async () => {
    const missing = await csvPair(folder, 'user,item_id,when\nu,a,1\n', ITEMS);
    await expect(prepare(missing, folder)).rejects.toMatchObject({
      code: 'DATA_COLUMN_MISSING',
      message: expect.stringMatching(/"user_id", "timestamp" in .*interactions.csv, found "user", "item_id", "when"/),
    });
    const tabs = await csvPair(folder, interactionsCsv(ROWS).replaceAll(',', '\t'), ITEMS);
    await expect(prepare(tabs, folder)).rejects.toMatchObject({ message: expect.stringContaining('but "\\t"') });
  });

  it('names a missing, an empty, a header-only and a broken file', async () => {
    const source = await csvPair(folder, interactionsCsv(ROWS), ITEMS);
    const gone = { csv: { ...source.csv, items: join(folder, 'nowhere.csv') } };
    await expect(prepare(gone, folder)).rejects.toMatchObject({
      code: 'DATA_NOT_FOUND',
      message: expect.stringContaining('nowhere.csv'),
    });
    await expect(prepare(await csvPair(folder, '', ITEMS), folder)).rejects.toMatchObject({ code: 'DATA_EMPTY' });
    await expect(prepare(await csvPair(folder, 'user_id,item_id,timestamp\n', ITEMS), folder)).rejects.toMatchObject({
      code: 'DATA_EMPTY',
    });
    const cut = gzipSync(interactionsCsv(ROWS)).subarray(0, -12);
    await expect(prepare(await csvPair(folder, cut, ITEMS), folder)).rejects.toMatchObject({ code: 'DATA_UNREADABLE' });
    const { csv } = await csvPair(folder, interactionsCsv(ROWS), ITEMS);
    const directory = { csv: { ...csv, items: folder } };
    await expect(prepare(directory, folder)).rejects.toMatchObject({ code: 'DATA_NOT_FOUND' });
  });

  it('reads the first row of an item that is listed twice', async () => {
    const source = await csvPair(folder, interactionsCsv(ROWS), `${ITEMS}a,Later\n`);
    const data = await prepare(source, folder);
    expect(data.card.counts['itemsDuplicate']).toBe(1);
    expect(data.itemRows.find((item) => item.itemId === 'a')?.title).toBe('T a');
  });
});

describe('RecBole atomic files', () => {
  it('are read by field name, quotes as they stand, with the year from its column', async () => {
    const inter = `item_id:token\tuser_id:token\ttimestamp:float\trating:float\n${ROWS.map(
      ([user, item, time]) => `${item}\t${user}\t${time}\t4`,
    ).join('\n')}\n`;
    const item = `item_id:token\tmovie_title:token_seq\trelease_year:token\n${[
      'a\t"Quoted" Movie, The\t1995',
      'b\tB\tV',
      'c\tC (1990)\t1991',
      '1\tOne\t2001',
      '01\tZero One\t',
    ].join('\n')}\n`;
    await writeFile(join(folder, 'tiny.inter'), inter);
    await writeFile(join(folder, 'tiny.item'), item);
    const recbole = { folder, name: 'tiny', titleField: 'movie_title', yearField: 'release_year' };
    const keep = await prepare({ recbole }, folder);
    expect(keep.itemRows.map(({ title }) => title)).toEqual([
      'Zero One',
      'One (2001)',
      '"Quoted" Movie, The (1995)',
      'B',
      'C (1990)',
    ]);
    expect(keep.card.years).toEqual({ items: 3, first: 1990, last: 2001 });
    const title = { clean: true, year: 'strip', article: 'restore', missing: 'drop' } as const;
    const strip = await prepare({ recbole }, folder, { title });
    expect(strip.itemRows.map((row) => row.title)).toEqual(['Zero One', 'One', 'The "Quoted" Movie', 'B', 'C']);
  });
});

describe('digest of a source', () => {
  it('depends on bytes and reading options, not on the path', async () => {
    const source = await csvPair(folder, interactionsCsv(ROWS), ITEMS);
    const digest = await digestOfSource(source);
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    const moved = join(folder, 'moved.csv');
    await rename(source.csv.interactions, moved);
    expect(await digestOfSource({ csv: { ...source.csv, interactions: moved } })).toBe(digest);
    expect(await digestOfSource({ csv: { ...source.csv, interactions: moved, delimiter: ';' } })).not.toBe(digest);
    const columns = { ...COLUMNS, rating: 'rating' };
    expect(await digestOfSource({ csv: { ...source.csv, interactions: moved, columns } })).not.toBe(digest);
    await writeFile(moved, `${interactionsCsv(ROWS)}x,a,9\n`);
    expect(await digestOfSource({ csv: { ...source.csv, interactions: moved } })).not.toBe(digest);
  });
});
