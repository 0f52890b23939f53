import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import type { Split } from '../sources/splits.ts';
import type { DatasetCard } from './card.ts';
import { type Period, type PrepareParams, periodOf } from './params.ts';

export interface CutWindows {
  counts: Record<string, number> & { titles: number };
  /** SQL condition on `windows` that picks each split's. */
  where: Record<Split, string>;
  /** SQL condition on `sequence` that picks what was there before the window of `picked`. */
  history: string;
  times: DatasetCard['times'];
}

/** Positions in the windows sorted by time at which validation and test begin. */
interface Cuts {
  valid: number;
  test: number;
}

/**
 * Tables `items`, `titles`, `sequence` (each user's rows in order) and the view `windows` (the last row of each window).
 *
 * @throws SoftflowError `DATA_NO_WINDOWS`
 */
export async function cutWindows(duck: Duck, params: PrepareParams): Promise<CutWindows> {
  const period = periodOf(params);
  await makeSequences(
    duck,
    `${period ? `count_if(time_ms <= ${period.trainUntilMs})` : 'count(*)'} OVER (PARTITION BY u) AS train_rows`,
  );
  await duck.run(`CREATE VIEW windows AS SELECT * FROM sequence WHERE ${windowRule(params.historyLength, period)}`);
  const counts = await duck.numbers<'titles' | 'windows' | 'shortUsers' | 'usersWithoutHistory'>(`SELECT
    (SELECT count(*) FROM titles) AS titles, (SELECT count(*) FROM windows) AS windows,
    (SELECT count(*) FROM windows WHERE place < ${params.historyLength}) AS "shortUsers",
    (SELECT count(*) FROM sequence WHERE user_rows = 1) AS "usersWithoutHistory"`);
  const cuts = period ? await cutByTime(duck, params.split, period) : cutByShare(counts.windows, params.split);
  const windowsOf = {
    windowsTrain: cuts.valid,
    windowsValid: cuts.test - cuts.valid,
    windowsTest: counts.windows - cuts.test,
  };
  // Whether enough has happened after `trainUntil` to test on is for the caller to judge.
  const needed = [windowsOf.windowsTrain, windowsOf.windowsValid, ...(period ? [] : [windowsOf.windowsTest])];
  if (Math.min(...needed) < 1) throw await noWindows(duck, params, windowsOf);
  const history = `sequence.place BETWEEN picked.place - ${params.historyLength} AND picked.place - 1`;
  return { counts: { ...counts, ...windowsOf }, history, ...(await borders(duck, cuts, period)) };
}

/**
 * Tables `items`, `titles` and `sequence` (each user's rows in order).
 * @param more SQL of further columns of `sequence`, over the named `windows` of SQL
 */
export async function makeSequences(duck: Duck, more: string, windows?: string): Promise<void> {
  await duck.run(`CREATE TABLE items AS
    SELECT (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS item, i, item_id, title
    FROM (SELECT DISTINCT i FROM kept) JOIN item_keys USING (i) JOIN titled USING (i)`);
  await duck.run(`CREATE TABLE titles AS
    SELECT (row_number() OVER (ORDER BY first_item) - 1)::INTEGER AS title_row, title, first_item
    FROM (SELECT title, min(item) AS first_item FROM items GROUP BY title)`);
  await duck.run(`CREATE TABLE sequence AS
    SELECT u, item, rating, time_ms, source_row,
      (row_number() OVER (PARTITION BY u ORDER BY time_ms, source_row) - 1)::INTEGER AS place,
      count(*) OVER (PARTITION BY u) AS user_rows, ${more}
    FROM kept JOIN items USING (i) ${windows === undefined ? '' : `WINDOW ${windows}`}`);
  await duck.run('DROP TABLE kept');
}

/**
 * A user with fewer rows than a whole window gives one shorter window; one row alone has no history. Which of the rows
 * up to `trainUntil` is the last is decided by them alone: later ones must not take a train window away.
 */
function windowRule(historyLength: number, period: Period | undefined): string {
  const rule = (rows: string) => `(place >= ${historyLength} OR (place = ${rows} - 1 AND place >= 1))`;
  if (!period) return rule('user_rows');
  return `(time_ms <= ${period.trainUntilMs} AND ${rule('train_rows')})
    OR (time_ms > ${period.testAfterMs} AND ${rule('user_rows')})`;
}

/** Floor of the share, safe from the rounding of sums such as 0.7 + 0.1. */
export const floorOf = (windows: number, share: number) => Math.floor(windows * share + 1e-6);

function cutByShare(windows: number, split: PrepareParams['split']): Cuts {
  return { valid: floorOf(windows, split.train), test: floorOf(windows, split.train + split.valid) };
}

/** All windows up to `trainUntil` train or validate, in the ratio of their shares. */
async function cutByTime(duck: Duck, split: PrepareParams['split'], { trainUntilMs }: Period): Promise<Cuts> {
  const { windows } = await duck.numbers<'windows'>(
    `SELECT count(*) AS windows FROM windows WHERE time_ms <= ${trainUntilMs}`,
  );
  return { valid: floorOf(windows, split.train / (split.train + split.valid)), test: windows };
}

async function borders(
  duck: Duck,
  cuts: Cuts,
  period: Period | undefined,
): Promise<Pick<CutWindows, 'where' | 'times'>> {
  const valid = (await windowAt(duck, cuts.valid)) as Moment;
  const test = await windowAt(duck, cuts.test);
  const span = await duck.rows<{ first: bigint; last: bigint }>(
    'SELECT min(time_ms) AS "first", max(time_ms) AS "last" FROM sequence',
  );
  const beforeTest = period ? `time_ms <= ${period.trainUntilMs}` : before(test as Moment);
  return {
    where: {
      train: before(valid),
      valid: `NOT ${before(valid)} AND ${beforeTest}`,
      test: `NOT ${beforeTest}`,
    },
    times: {
      first: isoTime(span[0]?.first),
      last: isoTime(span[0]?.last),
      valid: isoTime(valid.time_ms),
      test: test ? isoTime(test.time_ms) : null,
    },
  };
}

export interface Moment {
  time_ms: bigint;
  source_row: bigint;
}

/** Undefined behind the last window. */
export async function windowAt(duck: Duck, position: number, where = 'true'): Promise<Moment | undefined> {
  const [row] = await duck.rows<Moment>(
    `SELECT time_ms, source_row FROM windows WHERE ${where} ORDER BY time_ms, source_row LIMIT 1 OFFSET ${position}`,
  );
  return row;
}

export function before({ time_ms, source_row }: Moment): string {
  return `(time_ms < ${time_ms} OR (time_ms = ${time_ms} AND source_row < ${source_row}))`;
}

export function isoTime(ms: bigint | undefined): string {
  return new Date(Number(ms)).toISOString();
}

/** @param other what helps besides a lower k-core */
export async function noWindows(
  duck: Duck,
  params: PrepareParams,
  windows: Record<string, number>,
  other = 'give more data, or change `data.split`',
): Promise<SoftflowError> {
  const left = await duck.numbers<'rows' | 'users' | 'items'>(
    'SELECT count(*) AS "rows", count(DISTINCT u) AS users, count(DISTINCT item) AS items FROM sequence',
  );
  const [needed, until] =
    params.trainUntil === undefined
      ? ['train, validate and test', '']
      : ['train and validate', ` and with data.trainUntil ${params.trainUntil}`];
  return new SoftflowError(
    'DATA_NO_WINDOWS',
    `Expected at least one window each to ${needed}, found ${windows['windowsTrain']}, ` +
      `${windows['windowsValid']} and ${windows['windowsTest']}; after the ${params.kCore}-core${until} ${left.rows} interactions of ` +
      `${left.users} users and ${left.items} items are left. Lower \`data.kCore\` (now ${params.kCore}), or ${other}`,
    { details: { ...left, ...windows, kCore: params.kCore } },
  );
}
