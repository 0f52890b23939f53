import type { Store } from '../artifacts/store.ts';
import { compareDatasets, type DatasetProfile, type DriftReport, profileOf } from '../datasets/drift.ts';
import { decodeItems } from '../datasets/tables.ts';
import type { DriftInput } from './retrain-contracts.ts';

/** How far new data has moved from what the champion was trained on. */
export async function checkDrift(store: Store, { champion, fresh, limits }: DriftInput): Promise<DriftReport> {
  return compareDatasets(await profile(store, champion), await profile(store, fresh), limits);
}

async function profile(store: Store, { card, items }: DriftInput['fresh']): Promise<DatasetProfile> {
  const parsed = JSON.parse(Buffer.from(await store.getBytes(card)).toString()) as Parameters<typeof profileOf>[0];
  return profileOf(parsed, decodeItems(await store.getBytes(items)));
}
