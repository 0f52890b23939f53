import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { decodeWindows } from '../datasets/tables.ts';
import type { PrepareDataParams } from './contracts.ts';

/**
 * The end of training of a run, by its prepared data: `trainUntil`, or the last target that a run without it was trained
 * or validated on. RFC 3339, UTC.
 */
export async function trainedUntil(store: Store, { params, outputs }: Manifest): Promise<string> {
  const { trainUntil } = (params as PrepareDataParams).data as { trainUntil?: string };
  if (trainUntil !== undefined) return trainUntil;
  let last = 0;
  for (const name of ['windowsTrain', 'windowsValid'])
    for (const { targetTimeMs } of decodeWindows(await store.getBytes(outputs[name] as ArtifactRef)))
      last = Math.max(last, Number(targetTimeMs));
  return new Date(last).toISOString();
}
