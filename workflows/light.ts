import {
  ActivityFailure,
  ApplicationFailure,
  patched,
  proxyActivities,
  proxyLocalActivities,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { LightActivities } from '../activities/create-activities.ts';
import { IN_PLACE, lightActivityOptions } from './task-queues.ts';

/** Where a run's look-ups and records are done. */
export interface LightPlace {
  /** Base name of the task queues. */
  queue: string;
  /** In the worker that runs the workflow, without a turn through the server. */
  inPlace: boolean;
  /** What was done in place since the history was so long; it becomes longer at the end of the turn. */
  unwritten: { historyLength: number; calls: number };
}

/** Runs that began before look-ups were done in place send them through the server to their end. */
export function openLight(queue: string): LightPlace {
  return { queue, inPlace: patched('look-ups-in-place'), unwritten: { historyLength: 0, calls: 0 } };
}

/** Events of the history, those that the end of this turn will write included. */
export function eventsOf({ unwritten: { historyLength, calls } }: LightPlace): number {
  const { historyLength: now } = workflowInfo();
  return now === historyLength ? now + calls : now;
}

/**
 * A look-up or a record: short, and of the store alone. Only when it cannot be done at once is it an activity of its own,
 * which the server tries again for as long as it takes without a word in the history.
 */
export async function light<T>(
  place: LightPlace,
  summary: string,
  call: (activities: LightActivities) => Promise<T>,
): Promise<T> {
  const { queue, inPlace } = place;
  const elsewhere = () => call(proxyActivities<LightActivities>({ ...lightActivityOptions(queue), summary }));
  if (!inPlace) return elsewhere();
  const { historyLength } = workflowInfo();
  place.unwritten = { historyLength, calls: eventsOf(place) - historyLength + 1 };
  try {
    return await call(proxyLocalActivities<LightActivities>({ ...IN_PLACE, summary }));
  } catch (error) {
    if (!mayBeTriedAgain(error)) throw error;
    return elsewhere();
  }
}

/** The activity has not failed for good: its worker is gone, busy or ends, or what it needs does not answer. */
export function mayBeTriedAgain(error: unknown): boolean {
  if (!(error instanceof ActivityFailure)) return false;
  const { cause } = error;
  return cause instanceof TimeoutFailure || (cause instanceof ApplicationFailure && !cause.nonRetryable);
}
