import { join } from 'node:path';
import type { Duck } from '../duck.ts';
import type { ItemRow, TitleRow } from '../schemas.ts';
import { type encodeTable, writeTableFile } from '../tables.ts';

const BATCH_ROWS = 65_536;

/** Rows of the items and titles tables; `trainWindows` is the SQL condition of the windows that count for popularity. */
export async function readCatalogue(
  duck: Duck,
  trainWindows: string,
): Promise<{ items: ItemRow[]; titles: TitleRow[] }> {
  const items = await duck.rows<ItemRow>(`SELECT item_id AS "itemId",
    items.title, title_row AS "titleRow" FROM items JOIN titles USING (title) ORDER BY item`);
  const titles = await duck.rows<TitleRow>(`SELECT title, first_item AS "firstItem",
      coalesce(targets, 0)::INTEGER AS popularity
    FROM titles LEFT JOIN (SELECT title, count(*) AS targets FROM windows JOIN items USING (item)
      WHERE ${trainWindows} GROUP BY title) AS train USING (title) ORDER BY title_row`);
  return { items, titles };
}

/** Writes the interactions file into `folder` and returns its path. */
export async function writeInteractions(duck: Duck, folder: string): Promise<string> {
  const path = join(folder, 'interactions.arrow');
  await writeTableFile(path, 'interactions', interactionBatches(duck));
  return path;
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
