import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import { SPLITS, splitPlaceSql } from '../sources/splits.ts';
import { columnSql, type OpenedFile, readCsvSql } from '../sources/tabular.ts';
import { countRejects, namesOf, noRows, rejectExamples, tooManyBadRows } from './bad-rows.ts';

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
  counts: Record<'rows' | 'unreadable' | 'missingId' | 'badTime' | 'badRating', number> & { badSplit?: number };
  /** Whether the source says itself what is train and what is test. */
  splitGiven: boolean;
}

/** Largest time that a JavaScript date can hold. */
export const MAX_TIME_MS = 8.64e15;
/** 1e11 ms is 1973 and 1e11 s the year 5138. */
const MS_FROM = 1e11;

const has = (file: OpenedFile, role: string) => typeof file.places[role] === 'number';

/**
 * Table `raw`: every readable row in the order of the files; `bad` says why a row cannot be used. Columns `known` (time
 * of arrival), `title` and `split` (place in `SPLITS`) are there when the files have them.
 *
 * @param files with the same roles; several only where each is a split
 * @throws SoftflowError `DATA_EMPTY`, `DATA_BAD_ROWS` or `DATA_UNREADABLE`
 */
export async function readInteractions(
  duck: Duck,
  files: readonly OpenedFile[],
  options: ReadOptions,
): Promise<ReadInteractions> {
  let rows = 0;
  for (const [i, file] of files.entries()) {
    const read = rowsSql(file, rejectsOf(i), rows);
    await duck.run(i === 0 ? `CREATE TABLE raw AS ${read}` : `INSERT INTO raw ${read}`);
    ({ rows } = await duck.numbers<'rows'>('SELECT count(*) AS "rows" FROM raw'));
  }
  const [first] = files as [OpenedFile];
  const factor = await timeFactor(duck, 'time', files, options.timeUnit);
  const knownFactor = has(first, 'known') ? await timeFactor(duck, 'known', files, options.timeUnit) : factor;
  await duck.run(`UPDATE raw SET bad = 'badTime' WHERE bad IS NULL AND abs(time * ${factor}) > ${MAX_TIME_MS}`);
  const splitGiven = first.split !== undefined || has(first, 'split');
  return { factor, knownFactor, counts: await countRows(duck, files, options.maxBadRows, splitGiven), splitGiven };
}

const rejectsOf = (file: number): string => `interaction_rejects_${file}`;

/** @param before rows of the files before this one */
function rowsSql(file: OpenedFile, rejects: string, before: number): string {
  const split = file.split === undefined ? splitPlaceSql(columnSql(file, 'split')) : SPLITS.indexOf(file.split);
  const splitGiven = file.split !== undefined || has(file, 'split');
  return `SELECT row_number() OVER () - 1 + ${before} AS source_row, *,
      CASE WHEN user_id IS NULL OR item_id IS NULL THEN 'missingId'
        WHEN time IS NULL OR NOT isfinite(time) THEN 'badTime'
        ${has(file, 'known') ? "WHEN known IS NULL OR NOT isfinite(known) THEN 'badTime'" : ''}
        WHEN ${has(file, 'rating')} AND (rating IS NULL OR NOT isfinite(rating)) THEN 'badRating'
        ${splitGiven ? "WHEN split IS NULL THEN 'badSplit'" : ''} END AS bad
    FROM (SELECT ${columnSql(file, 'user')} AS user_id, ${columnSql(file, 'item')} AS item_id,
      try_cast(${columnSql(file, 'rating')} AS DOUBLE) AS rating, try_cast(${columnSql(file, 'time')} AS DOUBLE) AS time
      ${has(file, 'known') ? `, try_cast(${columnSql(file, 'known')} AS DOUBLE) AS known` : ''}
      ${has(file, 'title') ? `, ${columnSql(file, 'title')} AS title` : ''}
      ${splitGiven ? `, (${split})::TINYINT AS split` : ''}
      FROM ${readCsvSql(file, rejects)})`;
}

async function countRows(
  duck: Duck,
  files: readonly OpenedFile[],
  maxBadRows: number,
  splitGiven: boolean,
): Promise<ReadInteractions['counts']> {
  let unreadable = 0;
  for (const i of files.keys()) unreadable += await countRejects(duck, rejectsOf(i));
  const known = ['missingId', 'badTime', 'badRating', ...(splitGiven ? ['badSplit'] : [])] as const;
  const { readable, ...reasons } = await duck.numbers<'missingId' | 'badTime' | 'badRating' | 'readable'>(`SELECT
    ${known.map((reason) => `count_if(bad = '${reason}') AS "${reason}"`).join(', ')}, count(*) AS readable FROM raw`);
  const rows = readable + unreadable;
  if (rows === 0) throw noRows(files);
  const bad = Object.values(reasons).reduce((sum, count) => sum + count, unreadable);
  if (bad > maxBadRows * rows || bad === rows) {
    const marked = await duck.rows<{ text: string }>(
      "SELECT 'readable row ' || (source_row + 1) || ': ' || bad AS text FROM raw WHERE bad IS NOT NULL ORDER BY source_row LIMIT 3",
    );
    const rejected: string[] = [];
    for (const i of files.keys()) rejected.push(...(await rejectExamples(duck, rejectsOf(i))));
    const examples = [...rejected, ...marked.map(({ text }) => text)];
    throw tooManyBadRows(files, { bad, rows, limit: maxBadRows, reasons: { unreadable, ...reasons }, examples });
  }
  return { rows, unreadable, ...reasons };
}

/** `auto` goes by what most rows look like. */
async function timeFactor(
  duck: Duck,
  column: 'time' | 'known',
  files: readonly OpenedFile[],
  unit: TimeUnit,
): Promise<TimeFactor> {
  const asMilliseconds = files.filter(({ milliseconds }) => milliseconds?.includes(column));
  if (asMilliseconds.length === files.length) return 1;
  if (asMilliseconds.length > 0)
    throw new SoftflowError(
      'DATA_UNREADABLE',
      `Expected times of one type in ${namesOf(files)}, found timestamps in ${namesOf(asMilliseconds)} only`,
    );
  if (unit !== 'auto') return unit === 'ms' ? 1 : 1000;
  const { large, all } = await duck.numbers<'large' | 'all'>(
    `SELECT count_if(abs(${column}) >= ${MS_FROM}) AS large, count(*) AS "all" FROM raw WHERE bad IS NULL`,
  );
  return large * 2 > all ? 1 : 1000;
}

/**
 * Table `kept`: usable rows without exact duplicates, of which the first stays; users and items as numbers.
 *
 * @throws SoftflowError `DATA_SPLIT_LEAK`
 */
export async function cleanInteractions(
  duck: Duck,
  ratingMin: number | null,
  { factor, splitGiven }: Pick<ReadInteractions, 'factor' | 'splitGiven'>,
) {
  if (splitGiven) await requireApart(duck);
  for (const [table, key, id] of [
    ['users', 'u', 'user_id'],
    ['item_keys', 'i', 'item_id'],
  ])
    await duck.run(`CREATE TABLE ${table} AS
      SELECT (row_number() OVER (ORDER BY ${id}) - 1)::INTEGER AS ${key}, ${id}
      FROM (SELECT DISTINCT ${id} FROM raw WHERE bad IS NULL)`);
  await duck.run(`CREATE TABLE kept AS
    SELECT min(source_row) AS source_row, u, i, rating, time_ms ${splitGiven ? ', min(split) AS split' : ''}
    FROM (SELECT raw.*, u, i, round(time * ${factor})::BIGINT AS time_ms
      FROM raw JOIN users USING (user_id) JOIN item_keys USING (item_id) WHERE bad IS NULL)
    GROUP BY u, i, rating, time_ms`);
  const { duplicate } = await duck.numbers<'duplicate'>(
    'SELECT (SELECT count(*) FROM raw WHERE bad IS NULL) - (SELECT count(*) FROM kept) AS duplicate',
  );
  await duck.run('DROP TABLE raw');
  const belowRating = ratingMin === null ? 0 : await duck.run(`DELETE FROM kept WHERE rating < ${ratingMin}`);
  return { duplicate, belowRating };
}

/** Of one thing that happened only one split may know. */
async function requireApart(duck: Duck): Promise<void> {
  const shared = `SELECT user_id, item_id, time FROM raw WHERE bad IS NULL
    GROUP BY user_id, item_id, time HAVING min(split) < max(split)`;
  const { leaks } = await duck.numbers<'leaks'>(`SELECT count(*) AS leaks FROM (${shared})`);
  if (leaks === 0) return;
  const examples = await duck.rows<{ text: string }>(
    `SELECT 'user ' || user_id || ', item ' || item_id AS text FROM (${shared}) ORDER BY user_id, item_id, time LIMIT 3`,
  );
  throw new SoftflowError(
    'DATA_SPLIT_LEAK',
    `Expected every interaction in one split, found ${leaks} in several: ${examples.map(({ text }) => text).join('; ')}. ` +
      'Training would have seen what is tested; leave them in one split',
    { details: { leaks } },
  );
}
