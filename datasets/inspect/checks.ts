import type { Duck } from '../duck.ts';
import type { Roles } from './roles.ts';

/** Something that may spoil a run, looked for in the data. */
export interface Check {
  id:
    | 'duplicateRows'
    | 'tiesInTime'
    | 'targetInHistory'
    | 'trainAfterTest'
    | 'sharedRows'
    | 'equalTitles'
    | 'itemsWithoutTitle';
  /** Rows, items or titles that are concerned; 0 is good. */
  count: number;
  /** What that means and what softflow does about it. */
  text: string;
  examples: string[];
}

/** The history of a window, as in the recipe's default. */
const HISTORY_LENGTH = 10;
const EXAMPLES = 5;
/** Where the default split cuts, as shares of the rows in order of time. */
const BORDERS = [0.8, 0.9];

/** Checks of table `interactions`. @param part whether it is one of several files of a split */
export async function checkInteractions(duck: Duck, roles: Roles, part: boolean): Promise<Check[]> {
  const timed = roles.time !== undefined;
  return [
    await duplicateRows(duck),
    ...(timed ? [await tiesInTime(duck)] : []),
    await targetInHistory(duck, roles),
    ...(timed && roles.split !== undefined ? [await trainAfterTest(duck), await sharedRows(duck)] : []),
    ...(timed && roles.split === undefined && !part ? [await borderTies(duck)] : []),
  ];
}

async function duplicateRows(duck: Duck): Promise<Check> {
  const { count } = await duck.numbers<'count'>(`SELECT coalesce(sum(n - 1), 0) AS "count" FROM
    (SELECT count(*) AS n FROM interactions GROUP BY "user", item, rating, time_ms, split, history)`);
  return check('duplicateRows', count, 'rows repeat another one in every column; a run keeps the first');
}

async function tiesInTime(duck: Duck): Promise<Check> {
  const { count } = await duck.numbers<'count'>(`SELECT coalesce(sum(n), 0) AS "count" FROM
    (SELECT count(*) AS n FROM interactions GROUP BY "user", time_ms HAVING count(*) > 1)`);
  return check('tiesInTime', count, 'rows share user and time with another; a run orders them as the file does');
}

async function targetInHistory(duck: Duck, { history }: Roles): Promise<Check> {
  if (history !== undefined) {
    const { count } = await duck.numbers<'count'>(`SELECT count(*) AS "count" FROM interactions
      WHERE list_contains(regexp_split_to_array(history, '[\\s,|\\[\\]''"]+'), item)`);
    return check('targetInHistory', count, `rows have their own item in \`${history}\`: a model can copy the answer`);
  }
  const { count } = await duck.numbers<'count'>(`SELECT count(*) AS "count" FROM
    (SELECT place - lag(place) OVER (PARTITION BY "user", item ORDER BY place) AS since FROM
      (SELECT "user", item, row_number() OVER (PARTITION BY "user" ORDER BY time_ms, "row") AS place FROM interactions))
    WHERE since <= ${HISTORY_LENGTH}`);
  return check(
    'targetInHistory',
    count,
    `rows repeat an item of the user's ${HISTORY_LENGTH} rows before: as a target it stands in its own history, and a model can copy it`,
  );
}

/** Of a file that says itself which rows are train and which are test. */
async function trainAfterTest(duck: Duck): Promise<Check> {
  const { count } = await duck.numbers<'count'>(`SELECT count(*) AS "count" FROM interactions
    WHERE split LIKE 'train%' AND time_ms > (SELECT min(time_ms) FROM interactions WHERE split LIKE 'test%')`);
  return check(
    'trainAfterTest',
    count,
    'train rows of the split column lie after the first test row: training sees the future of the test',
  );
}

async function sharedRows(duck: Duck): Promise<Check> {
  const { count } = await duck.numbers<'count'>(`SELECT count(*) AS "count" FROM interactions AS test
    WHERE split LIKE 'test%' AND EXISTS (SELECT 1 FROM interactions AS train
      WHERE train.split LIKE 'train%' AND train."user" = test."user" AND train.item = test.item)`);
  return check('sharedRows', count, 'test rows have their user and item in a train row as well');
}

/** A run's own split is by time; only rows at the very instant of a border could lie on either side. */
async function borderTies(duck: Duck): Promise<Check> {
  const at = BORDERS.map((share) => `CAST(floor(${share} * count(*)) AS BIGINT)`).join(', ');
  const { count } = await duck.numbers<'count'>(`WITH borders AS (SELECT unnest([${at}]) AS place FROM interactions),
    ordered AS (SELECT time_ms, row_number() OVER (ORDER BY time_ms, "row") - 1 AS place FROM interactions),
    around AS (SELECT DISTINCT a.time_ms FROM borders JOIN ordered AS a USING (place)
      JOIN ordered AS b ON b.place = borders.place - 1 AND b.time_ms = a.time_ms)
    SELECT count(*) AS "count" FROM interactions WHERE time_ms IN (SELECT time_ms FROM around)`);
  return check(
    'trainAfterTest',
    count,
    'rows lie at the very instant where the default split by time (80, 10, 10 %) cuts; otherwise training never sees a row later than a test row',
  );
}

/** Checks of table `items`, and of how it fits table `interactions` where that is there. */
export async function checkTitles(duck: Duck, withInteractions: boolean): Promise<Check[]> {
  const equal = `SELECT title, count(*) AS n FROM items WHERE title <> '' GROUP BY title HAVING n > 1`;
  const { count } = await duck.numbers<'count'>(`SELECT count(*) AS "count" FROM (${equal})`);
  const titles = await examples(duck, `SELECT title AS text FROM (${equal}) ORDER BY n DESC, title`);
  const equalTitles = check(
    'equalTitles',
    count,
    'titles stand under several ids; a run ranks titles, so their items count as one',
    titles,
  );
  return [equalTitles, await itemsWithoutTitle(duck, withInteractions)];
}

async function itemsWithoutTitle(duck: Duck, withInteractions: boolean): Promise<Check> {
  const untitled = withInteractions
    ? `SELECT DISTINCT item FROM interactions WHERE item NOT IN (SELECT item FROM items WHERE title <> '')`
    : `SELECT item FROM items WHERE coalesce(title, '') = ''`;
  const { count, zeros } = await duck.numbers<'count' | 'zeros'>(`SELECT count(*) AS "count",
    count_if(ltrim(item, '0') IN (SELECT ltrim(item, '0') FROM items WHERE title <> '')) AS zeros FROM (${untitled})`);
  const hint = zeros > 0 ? `; ${zeros} of them have one under the same id with other leading zeros (007 is not 7)` : '';
  return check(
    'itemsWithoutTitle',
    count,
    `items have no title; a run drops their rows unless data.title.missing says otherwise${hint}`,
    await examples(duck, `SELECT item AS text FROM (${untitled}) ORDER BY item`),
  );
}

async function examples(duck: Duck, sql: string): Promise<string[]> {
  return (await duck.rows<{ text: string }>(`${sql} LIMIT ${EXAMPLES}`)).map(({ text }) => text);
}

function check(id: Check['id'], count: number, text: string, found: string[] = []): Check {
  return { id, count, text, examples: found };
}
