import type { StepResult } from '../activities/contracts.ts';
import { mayBeTriedAgain } from './light.ts';
import { onQueueOf, type StepActivityOptions } from './task-queues.ts';

/** What a run knows of the tensor worker that computed its last step. */
export interface Holder {
  /** The worker's own queue: what is sent there meets the model that is loaded. */
  holder?: string;
}

type Computed = StepResult<unknown> | null;

/**
 * Computes a tensor step where the base model is loaded: at the worker that did the last one, as long as that is there and
 * free, else wherever the shared queue leads. Only where it runs is chosen, so no byte can depend on it. Runs that began
 * before workers had queues of their own never learn of one, so their histories replay.
 */
export async function nearModel(
  state: Holder,
  options: StepActivityOptions,
  compute: (options: StepActivityOptions) => Promise<Computed>,
): Promise<Computed> {
  const { holder } = state;
  if (holder === undefined) return remember(state, await compute(options));
  delete state.holder;
  try {
    return remember(state, await compute(onQueueOf(holder, options)));
  } catch (error) {
    // The worker is gone, busy, or ends: the step has not failed. What it has saved is in the store.
    if (!mayBeTriedAgain(error)) throw error;
    return remember(state, await compute(options));
  }
}

function remember(state: Holder, computed: Computed): Computed {
  if (computed?.queue === undefined) return computed;
  const { queue, ...result } = computed;
  state.holder = queue;
  return result;
}
