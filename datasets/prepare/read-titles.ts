import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import { columnSql, type OpenedFile, readCsvSql } from '../sources/tabular.ts';
import { makeTitle, type TitleOptions } from '../titles.ts';
import { countRejects, noRows, rejectExamples, tooManyBadRows } from './bad-rows.ts';

/** Items whose year is known, with the span of years. */
export interface Years {
  items: number;
  first: number | null;
  last: number | null;
}

/**
 * Table `raw_items`: every readable row of the items in the order of the file.
 *
 * @throws SoftflowError `DATA_EMPTY` or `DATA_BAD_ROWS`
 */
export async function readItems(duck: Duck, file: OpenedFile, maxBadRows: number) {
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
  if (rows === 0) throw noRows([file]);
  if (bad > maxBadRows * rows) {
    const examples = await rejectExamples(duck, 'item_rejects');
    const reasons = { unreadable, missingId: found.missingId };
    throw tooManyBadRows([file], { bad, rows, limit: maxBadRows, reasons, examples });
  }
  return { itemRows: rows, itemsUnreadable: bad, itemsDuplicate: found.rows - found.missingId - found.ids };
}

/**
 * Table `titled`: the title of each item that has one; rows of other items leave `kept`.
 *
 * @throws SoftflowError `DATA_NO_TITLES` when no row is left, or when titles may not be missing
 */
export async function keepTitled(duck: Duck, file: OpenedFile, options: TitleOptions) {
  const years = await makeTitles(duck, options);
  const { items } = await duck.numbers<'items'>(
    'SELECT count(DISTINCT i) AS items FROM kept WHERE i NOT IN (SELECT i FROM titled)',
  );
  if (items > 0 && options.missing === 'error') throw await untitled(duck, file, items);
  const noTitle = await duck.run('DELETE FROM kept WHERE i NOT IN (SELECT i FROM titled)');
  const { left } = await duck.numbers<'left'>('SELECT count(*) AS "left" FROM kept');
  if (left === 0 && noTitle > 0) throw await untitled(duck, file, items);
  return { counts: { itemsWithoutTitle: items, noTitle }, years };
}

/** Titles are made in code, chunk by chunk, for those items only that have interactions; an id's first row counts. */
async function makeTitles(duck: Duck, options: TitleOptions): Promise<Years> {
  const years: Years = { items: 0, first: null, last: null };
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
