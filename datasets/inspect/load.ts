import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import type { DetectedFile } from './detect.ts';
import type { Role } from './roles.ts';

export type TimeUnit = 's' | 'ms' | 'date';

/** 1e11 ms is 1973 and 1e11 s the year 5138. */
const MS_FROM = 1e11;
/** Largest time that a JavaScript date can hold. */
const MAX_TIME_MS = 8.64e15;

const column = (file: DetectedFile, role: Role): string => {
  const name = file.roles[role];
  return name === undefined ? 'NULL::VARCHAR' : file.text(name);
};

/** Whether reading leaves a table of rejected lines. */
const rejects = ({ format }: DetectedFile): boolean => !['parquet', 'jsonl', 'arrow'].includes(format);

/**
 * Table `interactions`: usable rows (row, user, item, rating, time_ms, split, history) in the order of the file.
 * @throws SoftflowError `DATA_EMPTY`
 */
export async function loadInteractions(duck: Duck, file: DetectedFile) {
  await duck.run(`CREATE TABLE raw_interactions AS SELECT row_number() OVER () AS "row", ${column(file, 'user')} AS "user",
      ${column(file, 'item')} AS item, try_cast(${column(file, 'rating')} AS DOUBLE) AS rating, time_text,
      try_cast(time_text AS DOUBLE) AS time_number, split, history
    FROM (SELECT *, ${column(file, 'time')} AS time_text, lower(${column(file, 'split')}) AS split,
      ${column(file, 'history')} AS history FROM ${file.from})`);
  const unreadable = await countRejects(duck, file);
  const hasTime = file.roles.time !== undefined;
  const unit = hasTime ? await timeUnit(duck) : undefined;
  const timeMs = unit === undefined ? 'NULL::BIGINT' : timeSql(unit);
  await duck.run(`CREATE TABLE interactions AS
    SELECT "row", "user", item, rating, ${timeMs} AS time_ms, split, history FROM raw_interactions
    WHERE "user" IS NOT NULL AND item IS NOT NULL ${hasTime ? `AND ${timeMs} IS NOT NULL` : ''}`);
  const counts = await duck.numbers<'readable' | 'missingId' | 'usable' | 'users' | 'items'>(`SELECT
    (SELECT count(*) FROM raw_interactions) AS readable,
    (SELECT count(*) FROM raw_interactions WHERE "user" IS NULL OR item IS NULL) AS "missingId",
    count(*) AS usable, count(DISTINCT "user") AS users, count(DISTINCT item) AS items FROM interactions`);
  await duck.run('DROP TABLE raw_interactions');
  const { readable, missingId, usable, users, items } = counts;
  if (usable === 0)
    throw new SoftflowError('DATA_EMPTY', `Expected rows with user and item in ${file.path}, found none of use`);
  const badTime = readable - missingId - usable;
  return {
    counts: { rows: readable + unreadable, unreadable, missingId, badTime, usable, users, items },
    ...(unit === undefined ? {} : { times: await timeSpan(duck, unit) }),
    ...(file.roles.rating === undefined ? {} : { ratings: await ratingSpan(duck) }),
  };
}

/** Table `items`: the first row of each id (item, title). */
export async function loadItems(duck: Duck, file: DetectedFile): Promise<Record<string, number>> {
  await duck.run('DROP TABLE IF EXISTS rejects; DROP TABLE IF EXISTS rejects_scans');
  await duck.run(`CREATE TABLE raw_items AS SELECT row_number() OVER () AS "row", ${column(file, 'item')} AS item,
    ${titleSql(file)} AS title FROM ${file.from}`);
  const unreadable = await countRejects(duck, file);
  await duck.run(`CREATE TABLE items AS SELECT item, trim(title) AS title FROM raw_items WHERE item IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY item ORDER BY (nullif(trim(title), '') IS NULL), "row") = 1`);
  const { rows, items } = await duck.numbers<'rows' | 'items'>(
    'SELECT (SELECT count(*) FROM raw_items) AS "rows", count(*) AS items FROM items',
  );
  await duck.run('DROP TABLE raw_items');
  return { rows: rows + unreadable, unreadable, items };
}

/** As a run shows it: with the year of RecBole's own column, so that two films of one name are told apart. */
function titleSql(file: DetectedFile): string {
  const title = column(file, 'title');
  if (file.format !== 'recbole' || file.roles.year === undefined) return title;
  const year = column(file, 'year');
  return `CASE WHEN regexp_matches(${year}, '^[0-9]{4}$') THEN concat(${title}, ' (', ${year}, ')') ELSE ${title} END`;
}

/** Lines that could not be read; to be asked for once the file was read. */
export async function countRejects(duck: Duck, file: DetectedFile): Promise<number> {
  if (!rejects(file)) return 0;
  const { lines } = await duck.numbers<'lines'>('SELECT count(DISTINCT line) AS lines FROM rejects');
  return lines;
}

/** By what most rows look like. */
async function timeUnit(duck: Duck): Promise<TimeUnit> {
  const { large, numbers, dates } = await duck.numbers<'large' | 'numbers' | 'dates'>(`SELECT
    count_if(abs(time_number) >= ${MS_FROM}) AS large, count(time_number) AS numbers,
    count(CASE WHEN time_number IS NULL THEN try_cast(time_text AS TIMESTAMP) END) AS dates FROM raw_interactions`);
  if (dates > numbers) return 'date';
  return large * 2 > numbers ? 'ms' : 's';
}

function timeSql(unit: TimeUnit): string {
  if (unit === 'date') return 'epoch_ms(try_cast(time_text AS TIMESTAMP))';
  const factor = unit === 'ms' ? 1 : 1000;
  return `CASE WHEN isfinite(time_number) AND abs(time_number * ${factor}) <= ${MAX_TIME_MS}
    THEN round(time_number * ${factor})::BIGINT END`;
}

async function timeSpan(duck: Duck, unit: TimeUnit): Promise<{ unit: TimeUnit; first: string; last: string }> {
  const { first, last } = await duck.numbers<'first' | 'last'>(
    'SELECT min(time_ms) AS "first", max(time_ms) AS "last" FROM interactions',
  );
  return { unit, first: new Date(first).toISOString(), last: new Date(last).toISOString() };
}

function ratingSpan(duck: Duck): Promise<{ min: number; max: number }> {
  return duck.numbers<'min' | 'max'>('SELECT min(rating) AS "min", max(rating) AS "max" FROM interactions');
}
