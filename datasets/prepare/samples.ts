import { createHash } from 'node:crypto';
import type { Duck } from '../duck.ts';
import type { ItemRow, WindowRow } from '../schemas.ts';
import { SPLITS, type Split } from '../sources/splits.ts';
import type { PrepareParams } from './params.ts';

/** How `sampleWindows` chooses, for the dataset card. */
export const SAMPLING_RULE =
  'first by SHA-256 of "<seed>:<user id>:<target index>", its first 8 bytes big-endian, then window id';

/** The first windows of each split in the order of a hash of (seed, window id), with their histories. */
export async function sampleWindows(
  duck: Duck,
  params: PrepareParams,
  where: Record<Split, string>,
  history: string,
): Promise<Record<Split, WindowRow[]>> {
  const samples: Record<Split, WindowRow[]> = { train: [], valid: [], test: [] };
  for (const split of SPLITS)
    samples[split] = await sampleSplit(duck, params.seed, where[split], params.samples[split], history);
  return samples;
}

async function sampleSplit(
  duck: Duck,
  seed: number,
  where: string,
  count: number,
  history: string,
): Promise<WindowRow[]> {
  const rows = await duck.rows<{
    window_id: string;
    user_id: string;
    place: number;
    history: { items: number[] };
    item: number;
    time_ms: bigint;
  }>(`WITH picked AS (
      SELECT *, substr(sha256('${seed}:' || window_id), 1, 16) AS draw
      FROM (SELECT *, user_id || ':' || place AS window_id
        FROM windows JOIN users USING (u) WHERE ${where})
      ORDER BY draw, window_id LIMIT ${count})
    SELECT draw, window_id, user_id, picked.place, picked.item, picked.time_ms,
      list(sequence.item ORDER BY sequence.place) AS history
    FROM picked JOIN sequence ON sequence.u = picked.u
      AND ${history}
    GROUP BY ALL ORDER BY draw, window_id`);
  return rows.map((row) => ({
    windowId: row.window_id,
    userId: row.user_id,
    targetIndex: row.place,
    history: row.history.items,
    target: row.item,
    targetTimeMs: row.time_ms,
  }));
}

/**
 * SHA-256 over what the train and validation windows say: ids and titles instead of rows of a table, which shift when
 * an item is added. Equal digests mean that training would see the same prompts and answers.
 */
export function digestOfWindows(samples: Record<Split, WindowRow[]>, items: readonly ItemRow[]): string {
  const hash = createHash('sha256');
  const named = (row: number) => [items[row]?.itemId, items[row]?.title];
  for (const split of ['train', 'valid'] as const)
    for (const { windowId, history, target } of samples[split])
      hash.update(`${JSON.stringify([split, windowId, history.map(named), named(target)])}\n`);
  return hash.digest('hex');
}
