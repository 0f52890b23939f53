import { ensureMovielens100k } from './data-source.ts';
import { ensureHubModel } from './hub.ts';
import type { HubModel } from './hub-client.ts';
import { ensureModel } from './model-source.ts';
import type { OnProgress } from './progress.ts';
import { ensureTemporalServer } from './temporal.ts';
import { ensureTensorflow, type TensorflowSetup } from './tensorflow.ts';

export { cacheRoot } from './cache.ts';
export { type ProbeRow, probeSetup } from './probe.ts';
export type { OnProgress, SetupProgress } from './progress.ts';

/** What a command or a run needs of the set-up; what is left out is not touched. */
export interface SetupNeeds {
  tensorflow?: boolean;
  temporal?: boolean;
  model?: { registry: string } | HubModel;
  data?: 'ml-100k';
}

/** Paths of what was asked for. */
export interface SetupResult {
  tensorflow?: TensorflowSetup;
  temporal?: string;
  /** A model file or folder. */
  model?: string;
  /** A folder of data files. */
  data?: string;
}

/**
 * Makes sure that all of `needs` is in the cache, one item after the other so that the progress can be followed.
 *
 * @throws SoftflowError of the first item that cannot be had
 */
export async function ensureAll(needs: SetupNeeds, onProgress: OnProgress = () => {}): Promise<SetupResult> {
  const result: SetupResult = {};
  if (needs.tensorflow) result.tensorflow = await ensureTensorflow({ onProgress });
  if (needs.temporal) result.temporal = await ensureTemporalServer({ onProgress });
  if (needs.model) {
    result.model =
      'registry' in needs.model
        ? await ensureModel(needs.model, { onProgress })
        : (await ensureHubModel(needs.model, { onProgress })).folder;
  }
  if (needs.data === 'ml-100k') result.data = await ensureMovielens100k({ onProgress });
  return result;
}
