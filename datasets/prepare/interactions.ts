import type { Duck } from '../duck.ts';
import { columnSql, type OpenedFile, readCsvSql } from '../sources/tabular.ts';
import { countRejects, noRows, rejectExamples, tooManyBadRows } from './bad-rows.ts';

export type TimeUnit = 'auto' | 's' | 'ms';

/** How rows are read; the same names as in `data` of the run config. */
export interface ReadOptions {
  timeUnit: TimeUnit;
  /** Share of unreadable rows above which reading fails. */
  maxBadRows: number;
}

/** What turns a column's times into milliseconds. */
export type TimeFactor = 1 | 1000;

export interface ReadInteractions {
  factor: TimeFactor;
  /** Of the arrival times; as `factor` when there are none. */
  knownFactor: TimeFactor;
  counts: Record<'rows' | 'unreadable' | 'missingId' | 'badTime' | 'badRating', number>;
}

/** Largest time that a JavaScript date can hold. */
export const MAX_TIME_MS = 8.64e15;
/** 1e11 ms is 1973 and 1e11 s the year 5138. */
const MS_FROM = 1e11;

/**
 * Table `raw`: every readable row in the order of the file; `bad` says why a row cannot be used. Columns `known` (time of
 * arrival) and `title` are there when the file has them.
 *
 * @throws SoftflowError `DATA_EMPTY` or `DATA_BAD_ROWS`
 */
export async function readInteractions(duck: Duck, file: OpenedFile, options: ReadOptions): Promise<ReadInteractions> {
  const has = (role: string) => typeof file.places[role] === 'number';
  await duck.run(`CREATE TABLE raw AS
    SELECT row_number() OVER () - 1 AS source_row, *,
      CASE WHEN user_id IS NULL OR item_id IS NULL THEN 'missingId'
        WHEN time IS NULL OR NOT isfinite(time) THEN 'badTime'
        ${has('known') ? "WHEN known IS NULL OR NOT isfinite(known) THEN 'badTime'" : ''}
        WHEN ${has('rating')} AND (rating IS NULL OR NOT isfinite(rating)) THEN 'badRating' END AS bad
    FROM (SELECT ${columnSql(file, 'user')} AS user_id, ${columnSql(file, 'item')} AS item_id,
      try_cast(${columnSql(file, 'rating')} AS DOUBLE) AS rating, try_cast(${columnSql(file, 'time')} AS DOUBLE) AS time
      ${has('known') ? `, try_cast(${columnSql(file, 'known')} AS DOUBLE) AS known` : ''}
      ${has('title') ? `, ${columnSql(file, 'title')} AS title` : ''}
      FROM ${readCsvSql(file, 'interaction_rejects')})`);
  const factor = await timeFactor(duck, 'time', file, options.timeUnit);
  const knownFactor = has('known') ? await timeFactor(duck, 'known', file, options.timeUnit) : factor;
  await duck.run(`UPDATE raw SET bad = 'badTime' WHERE bad IS NULL AND abs(time * ${factor}) > ${MAX_TIME_MS}`);
  return { factor, knownFactor, counts: await countRows(duck, file, options.maxBadRows) };
}

async function countRows(duck: Duck, file: OpenedFile, maxBadRows: number): Promise<ReadInteractions['counts']> {
  const unreadable = await countRejects(duck, 'interaction_rejects');
  const { readable, ...reasons } = await duck.numbers<'missingId' | 'badTime' | 'badRating' | 'readable'>(`SELECT
    count_if(bad = 'missingId') AS "missingId", count_if(bad = 'badTime') AS "badTime",
    count_if(bad = 'badRating') AS "badRating", count(*) AS readable FROM raw`);
  const rows = readable + unreadable;
  if (rows === 0) throw noRows(file);
  const bad = unreadable + reasons.missingId + reasons.badTime + reasons.badRating;
  if (bad > maxBadRows * rows || bad === rows) {
    const marked = await duck.rows<{ text: string }>(
      "SELECT 'readable row ' || (source_row + 1) || ': ' || bad AS text FROM raw WHERE bad IS NOT NULL ORDER BY source_row LIMIT 3",
    );
    const examples = [...(await rejectExamples(duck, 'interaction_rejects')), ...marked.map(({ text }) => text)];
    throw tooManyBadRows(file, { bad, rows, limit: maxBadRows, reasons: { unreadable, ...reasons }, examples });
  }
  return { rows, unreadable, ...reasons };
}

/** `auto` goes by what most rows look like. */
async function timeFactor(duck: Duck, column: 'time' | 'known', file: OpenedFile, unit: TimeUnit): Promise<TimeFactor> {
  if (file.milliseconds?.includes(column)) return 1;
  if (unit !== 'auto') return unit === 'ms' ? 1 : 1000;
  const { large, all } = await duck.numbers<'large' | 'all'>(
    `SELECT count_if(abs(${column}) >= ${MS_FROM}) AS large, count(*) AS "all" FROM raw WHERE bad IS NULL`,
  );
  return large * 2 > all ? 1 : 1000;
}

/** Table `kept`: usable rows without exact duplicates, of which the first stays; users and items as numbers. */
export async function cleanInteractions(duck: Duck, ratingMin: number | null, factor: TimeFactor) {
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
  const belowRating = ratingMin === null ? 0 : await duck.run(`DELETE FROM kept WHERE rating < ${ratingMin}`);
  return { duplicate, belowRating };
}
