import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { expect, test } from 'vitest';
import type { CsvSource, DataSource, ResolvedDataSource } from '../../datasets/sources/source.ts';
import { COLUMNS, csvPair, itemsCsv, prepare, prepareAsOf, temporaryFolder } from './fixtures.ts';

type Row = readonly [user: string, item: string, time: number, split: string];

/** Two users whose last row is tested and whose last but one validates; a third who has a train row after a test row. */
const ROWS: Row[] = [
  ['u1', 'a', 1, 'train'],
  ['u1', 'b', 2, 'train'],
  ['u1', 'c', 3, 'train'],
  ['u1', 'd', 4, 'valid'],
  ['u1', 'e', 5, 'test'],
  ['u2', 'b', 1, 'train'],
  ['u2', 'c', 2, 'train'],
  ['u2', 'd', 3, 'valid'],
  ['u2', 'e', 4, 'test'],
  ['u3', 'a', 1, 'train'],
  ['u3', 'e', 2, 'test'],
  ['u3', 'b', 3, 'valid'],
  ['u3', 'c', 4, 'train'],
];
const ITEMS = itemsCsv(['a', 'b', 'c', 'd', 'e']);

const splitCsv = (rows: readonly Row[] = ROWS) =>
  `user_id,item_id,timestamp,fold\n${rows.map((row) => row.join(',')).join('\n')}\n`;
const plainCsv = (rows: readonly Row[]) =>
  `user_id,item_id,timestamp\n${rows.map(([user, item, time]) => [user, item, time].join(',')).join('\n')}\n`;
const columns: CsvSource['columns'] = { ...COLUMNS, split: 'fold' };
const of = (split: string) => ROWS.filter((row) => row[3] === split);

/** The three files of `ROWS`, without a split column. */
async function threeFiles(folder: string, parts = ['train', 'valid', 'test']) {
  for (const part of parts) await writeFile(join(folder, `${part}.csv`), plainCsv(of(part)));
  const source = await csvPair(folder, plainCsv(of('train')), ITEMS, { names: ['train.csv', 'items.csv'] });
  const paths = Object.fromEntries(parts.slice(1).map((part) => [part, join(folder, `${part}.csv`)]));
  return { csv: { ...source.csv, ...paths } };
}

async function prompts(source: ResolvedDataSource, params = {}) {
  const { itemRows, train, valid, test: tested, card, result } = await prepare(source, await temporaryFolder(), params);
  const name = (item: number) => itemRows[item]?.itemId ?? '?';
  const said = (windows: typeof train) =>
    windows.map(({ userId, history, target }) => `${userId}: ${history.map(name).join(' ')} > ${name(target)}`).sort();
  return { train: said(train), valid: said(valid), test: said(tested), card, result };
}

const EXPECTED = {
  // The test row of u3 lies before its last train row, and is no part of its history.
  train: ['u1: a > b', 'u1: a b > c', 'u2: b > c', 'u3: a > c'],
  valid: ['u1: b c > d', 'u2: b c > d', 'u3: a > b'],
  test: ['u1: c d > e', 'u2: c d > e', 'u3: a > e'],
};

test('a row of a split column is the target of its split, and its history is what that split may know', async () => {
  const source = await csvPair(await temporaryFolder(), splitCsv(), ITEMS, { columns });
  const { train, valid, test: tested, card } = await prompts(source);
  expect({ train, valid, test: tested }).toEqual(EXPECTED);
  expect(card.counts).toMatchObject({
    ...{ windowsTrain: 4, windowsValid: 3, windowsTest: 3, rowsWithoutHistory: 3, badSplit: 0 },
    // c of u3 is later than e of u3, the first test row; nobody is tested on an item that they had before.
    ...{ trainAfterTest: 2, testItemsKnown: 0 },
  });
  expect(card.times).toMatchObject({ test: '1970-01-01T00:00:02.000Z', valid: '1970-01-01T00:00:03.000Z' });
});

test('three files are the same windows as a split column', async () => {
  const { train, valid, test: tested } = await prompts(await threeFiles(await temporaryFolder()));
  expect({ train, valid, test: tested }).toEqual(EXPECTED);
});

test("RecBole's benchmark files are the same windows", async () => {
  const folder = await temporaryFolder();
  const tabs = (text: string) => text.replaceAll(',', '\t');
  const header = 'user_id:token,item_id:token,timestamp:float';
  for (const part of ['train', 'valid', 'test'])
    await writeFile(join(folder, `shop.${part}.inter`), tabs(plainCsv(of(part)).replace(/^.*/, header)));
  await writeFile(join(folder, 'shop.item'), tabs(ITEMS.replace(/^.*/, 'item_id:token,title:token_seq')));
  const recbole = { folder, name: 'shop', benchmark: ['train', 'valid', 'test'], titleField: 'title', yearField: null };
  const { train, valid, test: tested } = await prompts({ recbole });
  expect({ train, valid, test: tested }).toEqual(EXPECTED);
});

test('Parquet folders and a cut-off keep the split', async () => {
  const folder = await temporaryFolder();
  const files = await threeFiles(folder);
  const connection = await (await DuckDBInstance.create(':memory:')).connect();
  for (const part of ['train', 'valid', 'test', 'items'])
    await connection.run(
      `COPY (SELECT * FROM read_csv('${join(folder, `${part}.csv`)}', all_varchar = true)) TO '${join(folder, `${part}.parquet`)}'`,
    );
  const at = (part: string) => join(folder, `${part}.parquet`);
  const parquet = { folder: at('train'), valid: at('valid'), test: at('test'), items: at('items'), columns: COLUMNS };
  const asOf = '1970-01-01T00:00:04Z';
  const column = await csvPair(await temporaryFolder(), splitCsv(), ITEMS, { columns });
  const digests: string[] = [];
  for (const source of [files, column, { parquet }] satisfies DataSource[]) {
    const { train, valid, test: tested, digest } = await prepareAsOf(source, await temporaryFolder(), { asOf });
    expect([train.length, valid.length, tested.length]).toEqual([4, 3, 2]);
    digests.push(digest);
  }
  expect(digests[2]).toBe(digests[0]);
});

test('without validation rows the latest train windows validate', async () => {
  const { train, valid, test: tested } = await prompts(await threeFiles(await temporaryFolder(), ['train', 'test']));
  expect(train).toEqual(['u1: a > b', 'u2: b > c']);
  expect(valid).toEqual(['u1: a b > c', 'u3: a > c']);
  expect(tested).toEqual(['u1: b c > e', 'u2: b c > e', 'u3: a > e']);
});

test('the names of splits are those that publishers use; other words are bad rows', async () => {
  const words = { train: ' Training', valid: 'DEV', test: 'testing' };
  const rows = ROWS.map(([user, item, time, split]) => [user, item, time, words[split as keyof typeof words]] as const);
  const folder = await temporaryFolder();
  const { train, card } = await prompts(await csvPair(folder, splitCsv(rows), ITEMS, { columns }));
  expect(train).toEqual(EXPECTED.train);
  expect(card.counts['badSplit']).toBe(0);
  const odd = await csvPair(folder, splitCsv([...rows, ['u1', 'a', 9, 'holdout']]), ITEMS, { columns });
  await expect(prompts(odd)).rejects.toMatchObject({
    code: 'DATA_BAD_ROWS',
    message: expect.stringMatching(/badSplit 1\).*readable row 14: badSplit/),
  });
});

test('one interaction in two splits is a leak, also when its rating differs', async () => {
  const source = await csvPair(await temporaryFolder(), splitCsv([...ROWS, ['u2', 'e', 4, 'train']]), ITEMS, {
    columns,
  });
  await expect(prompts(source)).rejects.toMatchObject({
    code: 'DATA_SPLIT_LEAK',
    message: expect.stringContaining('found 1 in several: user u2, item e'),
  });
});

test('a split without rows to test on, and one beside trainUntil, are refused', async () => {
  const folder = await temporaryFolder();
  const untested = await csvPair(folder, splitCsv(ROWS.filter((row) => row[3] !== 'test')), ITEMS, { columns });
  await expect(prompts(untested)).rejects.toMatchObject({
    code: 'DATA_NO_WINDOWS',
    message: expect.stringMatching(/found 4, 3 and 0.*give each split rows/),
  });
  const both = await csvPair(folder, splitCsv(), ITEMS, { columns });
  await expect(prompts(both, { trainUntil: '2026-01-01T00:00:00Z' })).rejects.toMatchObject({ code: 'INPUT_INVALID' });
});

test('the bytes do not depend on threads, and the digest of the source on every file', async () => {
  const folder = await temporaryFolder();
  const source = await threeFiles(folder);
  const one = await prepare(source, await temporaryFolder(), {}, 1);
  const two = await prepare(source, await temporaryFolder(), {}, 2);
  for (const name of ['windowsTrain', 'windowsValid', 'windowsTest', 'items', 'interactionBytes'] as const)
    expect(Buffer.compare(one[name], two[name]), name).toBe(0);
  await writeFile(join(folder, 'valid.csv'), plainCsv(of('valid').slice(1)));
  const other = await prepare(source, await temporaryFolder());
  expect(other.card.source.digest).not.toBe(one.card.source.digest);
});
