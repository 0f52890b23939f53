import type { DatasetCard } from './prepare.ts';
import type { ItemRow } from './schemas.ts';

/** What of a prepared data set is compared; made from its card and its items. */
export interface DatasetProfile {
  users: number;
  items: number;
  interactions: number;
  /** Share of the items whose title another item carries too. */
  repeatedTitles: number;
  /** Interactions a user. */
  meanHistoryLength: number;
  itemIds: ReadonlySet<string>;
}

/** The same shape as `retrain.drift` in the run config. All are shares from 0 to 1; a drop is relative to the champion. */
export interface DriftLimits {
  maxUsersDrop: number;
  maxItemsDrop: number;
  maxInteractionsDrop: number;
  /** Items of the new data that the champion's data did not have. */
  maxUnseenItems: number;
  maxRepeatedTitles: number;
}

export interface DriftFinding {
  limit: keyof DriftLimits;
  observed: number;
  allowed: number;
  /** For people: "fewer users (1,000 -> 600): 40.0 %, allowed 20.0 %". */
  message: string;
}

export interface DriftReport {
  /** Every share that has a limit, and the history length as a ratio new / champion. */
  observed: Record<keyof DriftLimits, number> & { meanHistoryLengthRatio: number };
  /** What lies beyond its limit; empty when the new data may be trained on. */
  findings: DriftFinding[];
}

/** `interactions`, `users` and `items` are those after the k-core, up to `trainUntil` where that is set. */
export function profileOf(
  { counts, titleCollisions }: Pick<DatasetCard, 'counts' | 'titleCollisions'>,
  items: readonly Pick<ItemRow, 'itemId'>[],
): DatasetProfile {
  const { users = 0, kept = 0 } = counts;
  return {
    users,
    items: items.length,
    interactions: kept,
    repeatedTitles: share(titleCollisions.items, items.length),
    meanHistoryLength: share(kept, users),
    itemIds: new Set(items.map(({ itemId }) => itemId)),
  };
}

/** How far new data has moved from what the champion was trained on, against limits; a value at its limit is within. */
export function compareDatasets(champion: DatasetProfile, fresh: DatasetProfile, limits: DriftLimits): DriftReport {
  const unseen = [...fresh.itemIds].filter((id) => !champion.itemIds.has(id)).length;
  const observed = {
    maxUsersDrop: drop(champion.users, fresh.users),
    maxItemsDrop: drop(champion.items, fresh.items),
    maxInteractionsDrop: drop(champion.interactions, fresh.interactions),
    maxUnseenItems: share(unseen, fresh.items),
    maxRepeatedTitles: fresh.repeatedTitles,
    meanHistoryLengthRatio: share(fresh.meanHistoryLength, champion.meanHistoryLength),
  };
  const fell = (what: string, from: number, to: number) => `fewer ${what} (${count(from)} -> ${count(to)})`;
  const words: Record<keyof DriftLimits, string> = {
    maxUsersDrop: fell('users', champion.users, fresh.users),
    maxItemsDrop: fell('items', champion.items, fresh.items),
    maxInteractionsDrop: fell('interactions', champion.interactions, fresh.interactions),
    maxUnseenItems: `items that the champion's data did not have (${count(unseen)} of ${count(fresh.items)})`,
    maxRepeatedTitles: 'items that share their title with another',
  };
  const findings = (Object.keys(words) as (keyof DriftLimits)[])
    .filter((limit) => observed[limit] > limits[limit])
    .map((limit) => ({
      limit,
      observed: observed[limit],
      allowed: limits[limit],
      message: `${words[limit]}: ${percent(observed[limit])}, allowed ${percent(limits[limit])}`,
    }));
  return { observed, findings };
}

function drop(before: number, after: number): number {
  return Math.max(0, share(before - after, before));
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function percent(value: number): string {
  return `${(value * 100).toFixed(1)} %`;
}
