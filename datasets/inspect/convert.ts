import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import { requireOtherFile, writeWhole } from '../result-file.ts';
import { sqlText } from '../sources/tabular.ts';
import { withDuck } from '../with-duck.ts';
import { detectFile } from './detect.ts';
import { loadInteractions, loadItems } from './load.ts';

/** The names that recipes expect by default, and how many rows were written. */
export interface Conversion {
  columns: string[];
  rows: number;
}

/** `convertData` with a database of its own. */
export function convertFile(path: string, output: string): Promise<Conversion> {
  return withDuck((duck) => convertData(path, output, duck));
}

/**
 * Writes interactions or items of any format that `detectFile` knows as a CSV file that recipes read with their default column
 * names: UTF-8, a header, times in milliseconds. Rows that cannot be used are left out.
 *
 * @throws SoftflowError as `inspectData`, `OUTPUT_NOT_WRITTEN`, `USAGE` for a file onto itself
 */
export async function convertData(path: string, output: string, duck: Duck): Promise<Conversion> {
  requireOtherFile(path, output);
  const file = await detectFile(path, duck);
  const { user, item, title, rating, time, split } = file.roles;
  if (item === undefined || (user === undefined && title === undefined))
    throw new SoftflowError(
      'DATA_COLUMN_MISSING',
      `Expected columns of users and items, or of items and titles, in ${path}, found ${file.columns.slice(0, 50).join(', ')}.`,
    );
  const columns =
    user === undefined
      ? { item_id: 'item', title: 'title' }
      : {
          user_id: '"user"',
          item_id: 'item',
          ...(rating === undefined ? {} : { rating: 'rating' }),
          ...(time === undefined ? {} : { timestamp: 'time_ms' }),
          ...(split === undefined ? {} : { split: 'split' }),
        };
  if (user === undefined) await loadItems(duck, file);
  else await loadInteractions(duck, file);
  const list = Object.entries(columns).map(([name, sql]) => `${sql} AS ${name}`);
  const [table, order] = user === undefined ? ['items', 'item'] : ['interactions', '"row"'];
  await writeWhole(output, (temporary) =>
    duck.run(
      `COPY (SELECT ${list.join(', ')} FROM ${table} ORDER BY ${order}) TO ${sqlText(temporary)} (FORMAT csv, HEADER)`,
    ),
  );
  const { rows } = await duck.numbers<'rows'>(`SELECT count(*) AS "rows" FROM ${table}`);
  return { columns: Object.keys(columns), rows };
}
