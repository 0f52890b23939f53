import { latestCheckpoint } from '../artifacts/checkpoints.ts';
import type { Store } from '../artifacts/store.ts';
import { listTiles } from '../artifacts/tiles.ts';
import { stepForgotten } from '../artifacts/tombstones.ts';
import { CONTRACT_VERSIONS, type LookUpInput, type LookUpResult, type StepName } from './contracts.ts';
import { findStep, forWorkflow, keyOfStep } from './step-result.ts';

/**
 * The key of a step, its result when it is done, and what an unfinished one can go on from.
 *
 * @param versions of the steps; others than softflow's own where a step is replaced
 * @throws SoftflowError `STEP_FORGOTTEN` when it was forgotten on request
 */
export async function lookUpStep(
  store: Store,
  { step, inputs, params }: LookUpInput,
  versions: Record<StepName, number> = CONTRACT_VERSIONS,
): Promise<LookUpResult> {
  const key = keyOfStep(step, inputs, params, versions[step]);
  const found = await findStep(store, key);
  if (found) return { key, found: forWorkflow(found) };
  if (await store.isForgotten(key)) throw stepForgotten(key);
  const resumable = await describeProgress(store, key);
  return { key, ...(resumable ? { resumable } : {}) };
}

async function describeProgress(store: Store, key: string): Promise<string | undefined> {
  const checkpoint = await latestCheckpoint(store, key);
  if (checkpoint) return `checkpoint ${checkpoint.position.join('.')}`;
  const tiles = (await listTiles(store, key)).length;
  return tiles > 0 ? `${tiles} ${tiles === 1 ? 'tile' : 'tiles'}` : undefined;
}
