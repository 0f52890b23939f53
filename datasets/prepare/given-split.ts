import type { Duck } from '../duck.ts';
import { SPLITS, type Split } from '../sources/splits.ts';
import type { PrepareParams } from './params.ts';
import { before, type CutWindows, floorOf, isoTime, makeSequences, noWindows, windowAt } from './windows.ts';

/** Rows of the user that lie before a row and that its split may know: those of its own split and of earlier ones. */
const SEEN = `count(*) FILTER (split = 0) OVER earlier AS seen_train, count(*) FILTER (split <= 1) OVER earlier AS seen_valid,
  count(*) OVER earlier AS seen_test`;
const EARLIER = `earlier AS (PARTITION BY u ORDER BY time_ms, source_row ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)`;

/** Of the rows of `sequence`, how many `split` may know before this one. */
const seenBy = (split: string, table: string): string =>
  `CASE ${split} ${SPLITS.map((name, place) => `WHEN ${place} THEN ${table}.seen_${name}`).join(' ')} END`;

/**
 * As `cutWindows`, of rows that say themselves what they are for: every row is the target of a window of its split, as
 * long as its user has an earlier row that the split may know. So nothing that is tested stands in a train window, also
 * where the split is not one by time. Without validation rows the latest train windows validate.
 *
 * @throws SoftflowError `DATA_NO_WINDOWS`
 */
export async function cutGivenWindows(duck: Duck, params: PrepareParams): Promise<CutWindows> {
  const { historyLength } = params;
  await makeSequences(duck, `split, ${SEEN}`, EARLIER);
  await duck.run(`CREATE VIEW windows AS SELECT *, ${seenBy('split', 'sequence')} AS seen FROM sequence
    WHERE ${seenBy('split', 'sequence')} >= 1`);
  const counts = await duck.numbers<'titles' | 'windows' | 'shortHistories' | 'rowsWithoutHistory'>(`SELECT
    (SELECT count(*) FROM titles) AS titles, (SELECT count(*) FROM windows) AS windows,
    (SELECT count(*) FROM windows WHERE seen < ${historyLength}) AS "shortHistories",
    (SELECT count(*) FROM sequence) - (SELECT count(*) FROM windows) AS "rowsWithoutHistory"`);
  const where = await conditions(duck, params);
  const windowsOf = await countWindows(duck, where);
  if (Math.min(...Object.values(windowsOf)) < 1)
    throw await noWindows(duck, params, windowsOf, 'give each split rows whose users have earlier ones');
  return {
    counts: { ...counts, ...windowsOf, ...(await leaks(duck, where)) },
    where,
    history: `sequence.split <= picked.split AND ${seenBy('picked.split', 'sequence')} BETWEEN picked.seen - ${historyLength} AND picked.seen - 1`,
    times: await times(duck, where),
  };
}

async function conditions(duck: Duck, { split }: PrepareParams): Promise<Record<Split, string>> {
  const where = { train: 'split = 0', valid: 'split = 1', test: 'split = 2' };
  const { valid, train } = await duck.numbers<'valid' | 'train'>(
    'SELECT count_if(split = 1) AS valid, count_if(split = 0) AS train FROM windows',
  );
  if (valid > 0) return where;
  const border = await windowAt(duck, floorOf(train, split.train / (split.train + split.valid)), where.train);
  if (!border) return where;
  return {
    ...where,
    train: `${where.train} AND ${before(border)}`,
    valid: `${where.train} AND NOT ${before(border)}`,
  };
}

function countWindows(duck: Duck, where: Record<Split, string>) {
  return duck.numbers<
    'windowsTrain' | 'windowsValid' | 'windowsTest'
  >(`SELECT count_if(${where.train}) AS "windowsTrain",
    count_if(${where.valid}) AS "windowsValid", count_if(${where.test}) AS "windowsTest" FROM windows`);
}

/** What training knows of the test by way of the split itself: for people to judge, since it is theirs. */
function leaks(duck: Duck, where: Record<Split, string>) {
  return duck.numbers<'trainAfterTest' | 'testItemsKnown'>(`SELECT
    count_if(${where.train} AND time_ms > (SELECT min(time_ms) FROM windows WHERE ${where.test})) AS "trainAfterTest",
    count_if(${where.test} AND (u, item) IN (SELECT (u, item) FROM sequence WHERE split < 2)) AS "testItemsKnown"
    FROM windows`);
}

async function times(duck: Duck, where: Record<Split, string>): Promise<CutWindows['times']> {
  const [row] = await duck.rows<Record<'first' | 'last' | 'valid' | 'test', bigint>>(`SELECT
    (SELECT min(time_ms) FROM sequence) AS "first", (SELECT max(time_ms) FROM sequence) AS "last",
    min(time_ms) FILTER (${where.valid}) AS valid, min(time_ms) FILTER (${where.test}) AS test FROM windows`);
  return { first: isoTime(row?.first), last: isoTime(row?.last), valid: isoTime(row?.valid), test: isoTime(row?.test) };
}
