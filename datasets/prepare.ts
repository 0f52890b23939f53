import { join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { Duck, type DuckOptions } from './duck.ts';
import type { TitleRow, WindowRow } from './schemas.ts';
import { digestOfSource, type ResolvedDataSource, sourceFiles } from './sources/source.ts';
import { columnSql, type OpenedFile, openTabular, readCsvSql } from './sources/tabular.ts';
import { encodeItems, type encodeTable, encodeTitles, encodeWindows, writeTableFile } from './tables.ts';
import { makeTitle, type TitleOptions } from './titles.ts';

/** What decides the prepared data besides the source; the same shape as `data` in the run config, plus the seed. */
export interface PrepareParams {
  title: TitleOptions;
  timeUnit: 'auto' | 's' | 'ms';
  ratingMin: number | null;
  kCore: number;
  historyLength: number;
  split: { train: number; valid: number };
  samples: { train: number; valid: number; test: number };
  /** Share of unreadable rows above which preparation fails. */
  maxBadRows: number;
  seed: number;
}

/** What changes how preparation runs but never what it makes. */
export interface PrepareOptions extends DuckOptions {
  onProgress?: (progress: PrepareProgress) => void;
  signal?: AbortSignal;
}

export interface PrepareProgress {
  phase: (typeof PHASES)[number];
  /** Phases finished, of `total`. */
  done: number;
  total: number;
}

/** How many windows, users, items and rows there are and why rows were dropped; canonical, without times and paths. */
export interface DatasetCard {
  source: { kind: string; digest: string };
  params: PrepareParams;
  counts: Record<string, number>;
  timeUnit: 's' | 'ms';
  /** First and last kept interaction, and the first target of each split, ISO 8601. */
  times: { first: string; last: string; valid: string; test: string };
  /** Rows that share user and time with another, and the rule that orders them. */
  ties: { rows: number; rule: string };
  /** Titles that several items carry; the first item's row stands for all. */
  titleCollisions: { titles: number; items: number; examples: string[] };
  /** Items whose year is known, with the span of years. */
  years: { items: number; first: number | null; last: number | null };
  sampling: string;
}

export interface PreparedData {
  /** Path of the interactions table inside `tmpDir`; the caller moves or removes it. */
  interactions: string;
  /** Arrow IPC files, as the schemas of the same name. */
  items: Uint8Array;
  titles: Uint8Array;
  windowsTrain: Uint8Array;
  windowsValid: Uint8Array;
  windowsTest: Uint8Array;
  card: DatasetCard;
  result: {
    counts: Record<string, number>;
    titles: number;
    windows: { train: number; valid: number; test: number };
  };
}

const PHASES = ['read interactions', 'clean', 'read titles', 'k-core', 'windows', 'sample', 'write'] as const;
const SPLITS = ['train', 'valid', 'test'] as const;
type Split = (typeof SPLITS)[number];

/** Largest time that a JavaScript date can hold. */
const MAX_TIME_MS = 8.64e15;
/** 1e11 ms is 1973 and 1e11 s the year 5138. */
const MS_FROM = 1e11;
const BATCH_ROWS = 65_536;

/**
 * Reads, cleans, filters, cuts and samples the data, in the order of the method. The same source and parameters give
 * the same bytes whatever the threads and the memory: every result that feeds ids, windows or samples is fully ordered.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_EMPTY`, `DATA_COLUMN_MISSING`, `DATA_UNREADABLE`, `DATA_BAD_ROWS`,
 *   `DATA_NO_TITLES`, `DATA_NO_WINDOWS`, `CANCELLED`, `OUT_OF_MEMORY` or `NO_SPACE`
 */
export async function prepareData(
  source: ResolvedDataSource,
  params: PrepareParams,
  options: PrepareOptions,
): Promise<PreparedData> {
  const files = await sourceFiles(source, options.tmpDir);
  const interactionsFile = await openTabular(files.interactions);
  const itemsFile = await openTabular(files.items);
  if (params.ratingMin !== null && interactionsFile.places['rating'] === null)
    throw new SoftflowError(
      'DATA_COLUMN_MISSING',
      'Expected a rating column for `data.ratingMin`, found none; name it under `data.source` or set ratingMin to null',
    );
  const digest = await digestOfSource(source);
  const duck = await Duck.open(options);
  const interrupt = () => duck.interrupt();
  options.signal?.addEventListener('abort', interrupt);
  let done = 0;
  const phase = <T>(work: () => Promise<T>): Promise<T> => {
    if (options.signal?.aborted) throw new SoftflowError('CANCELLED', 'Data preparation was stopped');
    options.onProgress?.({ phase: PHASES[done] as PrepareProgress['phase'], done: done++, total: PHASES.length });
    return work();
  };
  try {
    const read = await phase(() => readInteractions(duck, interactionsFile, params));
    const cleaned = await phase(() => clean(duck, params, read.factor));
    const titled = await phase(() => readTitles(duck, itemsFile, params));
    const core = await phase(() => keepCore(duck, params.kCore));
    const windows = await phase(() => cutWindows(duck, params));
    const counts = { ...read.counts, ...cleaned, ...titled.counts, ...core, ...windows.counts };
    const samples = await phase(() => sampleWindows(duck, params, windows.where));
    const tables = await phase(() => writeTables(duck, options.tmpDir, windows.where.train));
    const [train, valid, test] = samples as [Sample, Sample, Sample];
    const card: DatasetCard = {
      source: { kind: Object.keys(source)[0] as string, digest },
      params,
      counts,
      timeUnit: read.factor === 1 ? 'ms' : 's',
      times: windows.times,
      ties: await countTies(duck),
      titleCollisions: await titleCollisions(duck),
      years: titled.years,
      sampling: 'first by SHA-256 of "<seed>:<user id>:<target index>", its first 8 bytes big-endian, then window id',
    };
    return {
      ...tables,
      windowsTrain: train.bytes,
      windowsValid: valid.bytes,
      windowsTest: test.bytes,
      card,
      result: {
        counts,
        titles: counts.titles,
        windows: { train: train.rows, valid: valid.rows, test: test.rows },
      },
    };
  } finally {
    options.signal?.removeEventListener('abort', interrupt);
    await duck.close();
  }
}

/** Table `raw`: every readable row in the order of the file; `bad` says why a row cannot be used. */
async function readInteractions(duck: Duck, file: OpenedFile, params: PrepareParams) {
  const hasRating = file.places['rating'] !== null;
  await duck.run(`CREATE TABLE raw AS
    SELECT row_number() OVER () - 1 AS source_row, user_id, item_id, rating, time,
      CASE WHEN user_id IS NULL OR item_id IS NULL THEN 'missingId'
        WHEN time IS NULL OR NOT isfinite(time) THEN 'badTime'
        WHEN ${hasRating} AND (rating IS NULL OR NOT isfinite(rating)) THEN 'badRating' END AS bad
    FROM (SELECT ${columnSql(file, 'user')} AS user_id, ${columnSql(file, 'item')} AS item_id,
      try_cast(${columnSql(file, 'rating')} AS DOUBLE) AS rating, try_cast(${columnSql(file, 'time')} AS DOUBLE) AS time
      FROM ${readCsvSql(file, 'interaction_rejects')})`);
  const factor = await timeFactor(duck, params.timeUnit);
  await duck.run(`UPDATE raw SET bad = 'badTime' WHERE bad IS NULL AND abs(time * ${factor}) > ${MAX_TIME_MS}`);
  const unreadable = await countRejects(duck, 'interaction_rejects');
  const counts = await duck.numbers<'missingId' | 'badTime' | 'badRating' | 'readable'>(`SELECT
    count_if(bad = 'missingId') AS "missingId", count_if(bad = 'badTime') AS "badTime",
    count_if(bad = 'badRating') AS "badRating", count(*) AS readable FROM raw`);
  const rows = counts.readable + unreadable;
  if (rows === 0)
    throw new SoftflowError('DATA_EMPTY', `Expected rows below the header of ${file.path}, found none`, {
      details: { path: file.path },
    });
  const bad = unreadable + counts.missingId + counts.badTime + counts.badRating;
  if (bad > params.maxBadRows * rows || bad === rows) {
    const reasons = { unreadable, missingId: counts.missingId, badTime: counts.badTime, badRating: counts.badRating };
    const examples = [
      ...(await rejectExamples(duck, 'interaction_rejects')),
      ...(await duck.rows<{ text: string }>(
        "SELECT 'readable row ' || (source_row + 1) || ': ' || bad AS text FROM raw WHERE bad IS NOT NULL ORDER BY source_row LIMIT 3",
      )),
    ].map(({ text }) => text);
    throw tooManyBadRows(file, bad, rows, params.maxBadRows, reasons, examples);
  }
  return {
    factor,
    counts: {
      rows,
      unreadable,
      missingId: counts.missingId,
      badTime: counts.badTime,
      badRating: counts.badRating,
    },
  };
}

/** What turns the file's times into milliseconds. `auto` goes by what most rows look like. */
async function timeFactor(duck: Duck, unit: PrepareParams['timeUnit']): Promise<1 | 1000> {
  if (unit !== 'auto') return unit === 'ms' ? 1 : 1000;
  const { large, all } = await duck.numbers<'large' | 'all'>(
    `SELECT count_if(abs(time) >= ${MS_FROM}) AS large, count(*) AS "all" FROM raw WHERE bad IS NULL`,
  );
  return large * 2 > all ? 1 : 1000;
}

async function countRejects(duck: Duck, table: string): Promise<number> {
  const { lines } = await duck.numbers<'lines'>(`SELECT count(DISTINCT line) AS lines FROM ${table}`);
  return lines;
}

async function rejectExamples(duck: Duck, table: string): Promise<{ text: string }[]> {
  return duck.rows(
    `SELECT 'line ' || line || ': ' || lower(min(error_type::VARCHAR)) AS text FROM ${table} GROUP BY line ORDER BY line LIMIT 3`,
  );
}

function tooManyBadRows(
  file: OpenedFile,
  bad: number,
  rows: number,
  limit: number,
  reasons: Record<string, number>,
  examples: string[],
): SoftflowError {
  const parts = Object.entries(reasons).filter(([, count]) => count > 0);
  return new SoftflowError(
    'DATA_BAD_ROWS',
    `${bad} of ${rows} rows of ${file.path} cannot be used (${parts.map(([name, n]) => `${name} ${n}`).join(', ')}), expected ` +
      `at most a share of ${limit}. First ones: ${examples.join('; ')}. Correct the file or raise \`data.maxBadRows\``,
    { details: { path: file.path, bad, rows, reasons, examples } },
  );
}

/** Table `kept`: usable rows without exact duplicates, of which the first stays; users and items as numbers. */
async function clean(duck: Duck, params: PrepareParams, factor: number) {
  for (const [table, key, id] of [
    ['users', 'u', 'user_id'],
    ['item_keys', 'i', 'item_id'],
  ])
    await duck.run(`CREATE TABLE ${table} AS
      SELECT (row_number() OVER (ORDER BY ${id}) - 1)::INTEGER AS ${key}, ${id}
      FROM (SELECT DISTINCT ${id} FROM raw WHERE bad IS NULL)`);
  await duck.run(`CREATE TABLE kept AS
    SELECT min(source_row) AS source_row, u, i, rating, time_ms
    FROM (SELECT source_row, u, i, rating, round(time * ${factor})::BIGINT AS time_ms
      FROM raw JOIN users USING (user_id) JOIN item_keys USING (item_id) WHERE bad IS NULL)
    GROUP BY u, i, rating, time_ms`);
  const { duplicate } = await duck.numbers<'duplicate'>(
    'SELECT (SELECT count(*) FROM raw WHERE bad IS NULL) - (SELECT count(*) FROM kept) AS duplicate',
  );
  await duck.run('DROP TABLE raw');
  const belowRating =
    params.ratingMin === null ? 0 : await duck.run(`DELETE FROM kept WHERE rating < ${params.ratingMin}`);
  return { duplicate, belowRating };
}

/** Table `titled`: the title of each item that has one; rows of other items leave `kept`. */
async function readTitles(duck: Duck, file: OpenedFile, params: PrepareParams) {
  await duck.run(`CREATE TABLE raw_items AS
    SELECT row_number() OVER () - 1 AS source_row, ${columnSql(file, 'item')} AS item_id,
      ${columnSql(file, 'title')} AS title, ${columnSql(file, 'year')} AS year
    FROM ${readCsvSql(file, 'item_rejects')}`);
  const unreadable = await countRejects(duck, 'item_rejects');
  const found = await duck.numbers<'rows' | 'missingId' | 'ids'>(
    'SELECT count(*) AS "rows", count_if(item_id IS NULL) AS "missingId", count(DISTINCT item_id) AS ids FROM raw_items',
  );
  const rows = found.rows + unreadable;
  const bad = unreadable + found.missingId;
  if (rows === 0) throw new SoftflowError('DATA_EMPTY', `Expected rows below the header of ${file.path}, found none`);
  if (bad > params.maxBadRows * rows) {
    const examples = (await rejectExamples(duck, 'item_rejects')).map(({ text }) => text);
    const reasons = { unreadable, missingId: found.missingId };
    throw tooManyBadRows(file, bad, rows, params.maxBadRows, reasons, examples);
  }
  const years = await makeTitles(duck, params.title);
  const { items } = await duck.numbers<'items'>(
    'SELECT count(DISTINCT i) AS items FROM kept WHERE i NOT IN (SELECT i FROM titled)',
  );
  if (items > 0 && params.title.missing === 'error') throw await untitled(duck, file, items);
  const noTitle = await duck.run('DELETE FROM kept WHERE i NOT IN (SELECT i FROM titled)');
  const { left } = await duck.numbers<'left'>('SELECT count(*) AS "left" FROM kept');
  if (left === 0 && noTitle > 0) throw await untitled(duck, file, items);
  const counts = {
    itemRows: rows,
    itemsUnreadable: bad,
    itemsDuplicate: found.rows - found.missingId - found.ids,
    itemsWithoutTitle: items,
    noTitle,
  };
  return { counts, years };
}

/** Titles are made in code, chunk by chunk, for those items only that have interactions; an id's first row counts. */
async function makeTitles(duck: Duck, options: TitleOptions): Promise<DatasetCard['years']> {
  const years: DatasetCard['years'] = { items: 0, first: null, last: null };
  await duck.run('CREATE TABLE titled (i INTEGER, title VARCHAR)');
  const rows = duck.chunks(`SELECT i, item_keys.item_id, title, year FROM item_keys
    LEFT JOIN (SELECT * FROM raw_items QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY source_row) = 1) AS first_rows
    USING (item_id) WHERE i IN (SELECT i FROM kept)`);
  await duck.append('titled', async (append) => {
    for await (const chunk of rows)
      for (const [i, itemId, raw, yearText] of chunk.getRows() as [number, string, string | null, string | null][]) {
        const { title, year } = makeTitle(raw ?? '', yearText, options);
        const shown = title === '' && options.missing === 'id' ? makeTitle(itemId, null, options).title : title;
        if (shown !== '') append(i, shown);
        if (year === null) continue;
        years.items++;
        years.first = Math.min(years.first ?? year, year);
        years.last = Math.max(years.last ?? year, year);
      }
  });
  return years;
}

async function untitled(duck: Duck, file: OpenedFile, items: number): Promise<SoftflowError> {
  const list = async (sql: string) => (await duck.rows<{ id: string }>(sql)).map(({ id }) => `"${id}"`).join(', ');
  const missing = await list(
    'SELECT item_id AS id FROM item_keys WHERE i NOT IN (SELECT i FROM titled) ORDER BY item_id LIMIT 3',
  );
  const there = await list('SELECT item_id AS id FROM raw_items WHERE item_id IS NOT NULL ORDER BY source_row LIMIT 3');
  return new SoftflowError(
    'DATA_NO_TITLES',
    `Expected a title in ${file.path} for every item of the interactions; ${items} have none, such as ${missing}, while ` +
      `the file holds ids such as ${there}. Ids are text ("007" is not "7"): make both files agree, or set \`data.title.missing\``,
    { details: { path: file.path, items } },
  );
}

/** Rows of users and items with fewer than `k` rows leave `kept`, until nothing changes; the result is the same in any order. */
async function keepCore(duck: Duck, k: number) {
  const tooFew = (key: string) => `${key} IN (SELECT ${key} FROM kept GROUP BY ${key} HAVING count(*) < ${k})`;
  let belowCore = 0;
  let coreRounds = 0;
  for (;;) {
    const dropped = k > 1 ? await duck.run(`DELETE FROM kept WHERE ${tooFew('u')} OR ${tooFew('i')}`) : 0;
    if (dropped === 0) break;
    belowCore += dropped;
    coreRounds++;
  }
  const left = await duck.numbers<'kept' | 'users' | 'items'>(
    'SELECT count(*) AS kept, count(DISTINCT u) AS users, count(DISTINCT i) AS items FROM kept',
  );
  return { belowCore, coreRounds, ...left };
}

/** Tables `items`, `titles`, `sequence` (each user's rows in order) and `windows` (the last row of each window). */
async function cutWindows(duck: Duck, params: PrepareParams) {
  await duck.run(`CREATE TABLE items AS
    SELECT (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS item, i, item_id, title
    FROM (SELECT DISTINCT i FROM kept) JOIN item_keys USING (i) JOIN titled USING (i)`);
  await duck.run(`CREATE TABLE titles AS
    SELECT (row_number() OVER (ORDER BY first_item) - 1)::INTEGER AS title_row, title, first_item
    FROM (SELECT title, min(item) AS first_item FROM items GROUP BY title)`);
  await duck.run(`CREATE TABLE sequence AS
    SELECT u, item, rating, time_ms, source_row,
      (row_number() OVER (PARTITION BY u ORDER BY time_ms, source_row) - 1)::INTEGER AS place,
      count(*) OVER (PARTITION BY u) AS user_rows
    FROM kept JOIN items USING (i)`);
  await duck.run('DROP TABLE kept');
  // A user with fewer rows than a whole window gives one shorter window; one row alone has no history.
  await duck.run(`CREATE VIEW windows AS SELECT * FROM sequence
    WHERE place >= ${params.historyLength} OR (place = user_rows - 1 AND place >= 1)`);
  const counts = await duck.numbers<'titles' | 'windows' | 'shortUsers' | 'usersWithoutHistory'>(`SELECT
    (SELECT count(*) FROM titles) AS titles, (SELECT count(*) FROM windows) AS windows,
    (SELECT count(*) FROM windows WHERE place < ${params.historyLength}) AS "shortUsers",
    (SELECT count(*) FROM sequence WHERE user_rows = 1) AS "usersWithoutHistory"`);
  const cuts = cutPoints(counts.windows, params.split);
  const windowsOf = {
    windowsTrain: cuts.valid,
    windowsValid: cuts.test - cuts.valid,
    windowsTest: counts.windows - cuts.test,
  };
  if (Math.min(...Object.values(windowsOf)) < 1) throw await noWindows(duck, params, windowsOf);
  const first = await windowAt(duck, 0);
  const valid = await windowAt(duck, cuts.valid);
  const test = await windowAt(duck, cuts.test);
  const span = await duck.rows<{ first: bigint; last: bigint }>(
    'SELECT min(time_ms) AS "first", max(time_ms) AS "last" FROM sequence',
  );
  const where: Record<Split, string> = {
    train: before(valid),
    valid: `NOT ${before(valid)} AND ${before(test)}`,
    test: `NOT ${before(test)} AND NOT ${before(first)}`,
  };
  const times = {
    first: isoTime(span[0]?.first),
    last: isoTime(span[0]?.last),
    valid: isoTime(valid.time_ms),
    test: isoTime(test.time_ms),
  };
  return { counts: { ...counts, ...windowsOf }, where, times };
}

/** Where validation and test begin: floor of the share, safe from the rounding of sums such as 0.7 + 0.1. */
function cutPoints(windows: number, split: PrepareParams['split']): { valid: number; test: number } {
  const floor = (share: number) => Math.floor(windows * share + 1e-6);
  return { valid: floor(split.train), test: floor(split.train + split.valid) };
}

interface Moment {
  time_ms: bigint;
  source_row: bigint;
}

async function windowAt(duck: Duck, position: number): Promise<Moment> {
  const [row] = await duck.rows<Moment>(
    `SELECT time_ms, source_row FROM windows ORDER BY time_ms, source_row LIMIT 1 OFFSET ${position}`,
  );
  return row as Moment;
}

function before({ time_ms, source_row }: Moment): string {
  return `(time_ms < ${time_ms} OR (time_ms = ${time_ms} AND source_row < ${source_row}))`;
}

function isoTime(ms: bigint | undefined): string {
  return new Date(Number(ms)).toISOString();
}

async function noWindows(duck: Duck, params: PrepareParams, windows: Record<string, number>): Promise<SoftflowError> {
  const left = await duck.numbers<'rows' | 'users' | 'items'>(
    'SELECT count(*) AS "rows", count(DISTINCT u) AS users, count(DISTINCT item) AS items FROM sequence',
  );
  return new SoftflowError(
    'DATA_NO_WINDOWS',
    `Expected at least one window each to train, validate and test, found ${windows['windowsTrain']}, ` +
      `${windows['windowsValid']} and ${windows['windowsTest']}; after the ${params.kCore}-core ${left.rows} interactions of ` +
      `${left.users} users and ${left.items} items are left. Lower \`data.kCore\` (now ${params.kCore}), give more data, or ` +
      `change \`data.split\``,
    { details: { ...left, ...windows, kCore: params.kCore } },
  );
}

interface Sample {
  bytes: Uint8Array;
  rows: number;
}

/** The first windows of each split in the order of a hash of (seed, window id), with their histories. */
async function sampleWindows(duck: Duck, params: PrepareParams, where: Record<Split, string>): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const split of SPLITS) {
    const rows = await duck.rows<{
      window_id: string;
      user_id: string;
      place: number;
      history: { items: number[] };
      item: number;
      time_ms: bigint;
    }>(`WITH picked AS (
        SELECT *, substr(sha256('${params.seed}:' || window_id), 1, 16) AS draw
        FROM (SELECT u, user_id, place, item, time_ms, user_id || ':' || place AS window_id
          FROM windows JOIN users USING (u) WHERE ${where[split]})
        ORDER BY draw, window_id LIMIT ${params.samples[split]})
      SELECT draw, window_id, user_id, picked.place, picked.item, picked.time_ms,
        list(sequence.item ORDER BY sequence.place) AS history
      FROM picked JOIN sequence ON sequence.u = picked.u
        AND sequence.place BETWEEN picked.place - ${params.historyLength} AND picked.place - 1
      GROUP BY ALL ORDER BY draw, window_id`);
    const windows = rows.map(
      (row): WindowRow => ({
        windowId: row.window_id,
        userId: row.user_id,
        targetIndex: row.place,
        history: row.history.items,
        target: row.item,
        targetTimeMs: row.time_ms,
      }),
    );
    samples.push({ bytes: encodeWindows(windows), rows: windows.length });
  }
  return samples;
}

/** The interactions file and the bytes of items and titles. */
async function writeTables(duck: Duck, folder: string, trainWindows: string) {
  const items = await duck.rows<{ itemId: string; title: string; titleRow: number }>(`SELECT item_id AS "itemId",
    items.title, title_row AS "titleRow" FROM items JOIN titles USING (title) ORDER BY item`);
  const titles = await duck.rows<TitleRow>(`SELECT title, first_item AS "firstItem",
      coalesce(targets, 0)::INTEGER AS popularity
    FROM titles LEFT JOIN (SELECT title, count(*) AS targets FROM windows JOIN items USING (item)
      WHERE ${trainWindows} GROUP BY title) AS train USING (title) ORDER BY title_row`);
  const interactions = join(folder, 'interactions.arrow');
  await writeTableFile(interactions, 'interactions', interactionBatches(duck));
  return { interactions, items: encodeItems(items), titles: encodeTitles(titles) };
}

/** Column by column, in batches of a fixed size, so that the bytes do not depend on how DuckDB cuts its chunks. */
async function* interactionBatches(duck: Duck) {
  const rows = duck.chunks(`SELECT user_id, item, coalesce(rating, 'NaN'::DOUBLE) AS rating, time_ms, source_row
    FROM sequence JOIN users USING (u) ORDER BY time_ms, source_row`);
  const names = ['userId', 'item', 'rating', 'timeMs', 'sourceRow'];
  let pending: unknown[][] = names.map(() => []);
  const batch = (count: number) => {
    const columns = Object.fromEntries(names.map((name, c) => [name, (pending[c] as never[]).slice(0, count)]));
    pending = pending.map((column) => column.slice(count));
    return columns as Parameters<typeof encodeTable>[1];
  };
  for await (const chunk of rows) {
    pending.forEach((column, c) => {
      for (const value of chunk.getColumnValues(c)) column.push(value);
    });
    if ((pending[0] as unknown[]).length >= BATCH_ROWS) yield batch(BATCH_ROWS);
  }
  if ((pending[0] as unknown[]).length > 0) yield batch(BATCH_ROWS);
}

async function countTies(duck: Duck): Promise<DatasetCard['ties']> {
  const { rows } = await duck.numbers<'rows'>(`SELECT coalesce(sum(n), 0) AS "rows"
    FROM (SELECT count(*) AS n FROM sequence GROUP BY u, time_ms HAVING count(*) > 1)`);
  return { rows, rule: 'time, then source row' };
}

async function titleCollisions(duck: Duck): Promise<DatasetCard['titleCollisions']> {
  const shared = 'SELECT title, count(*) AS n FROM items GROUP BY title HAVING count(*) > 1';
  const { titles, items } = await duck.numbers<'titles' | 'items'>(
    `SELECT count(*) AS titles, coalesce(sum(n), 0) AS items FROM (${shared})`,
  );
  const examples = await duck.rows<{ title: string }>(`SELECT title FROM (${shared}) ORDER BY n DESC, title LIMIT 5`);
  return { titles, items, examples: examples.map(({ title }) => title) };
}
