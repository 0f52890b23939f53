import type { Priority } from '@temporalio/common';

/** Who comes first where steps wait for a worker: 1 is the first, 5 the last. Steps and child workflows inherit it. */
const PRIORITY_KEYS = { manual: 2, scheduled: 3, sweep: 5 } as const;
export type RunOrigin = keyof typeof PRIORITY_KEYS;

/** The server takes so many bytes of a fairness key. */
const FAIRNESS_KEY_BYTES = 64;

/**
 * The place of a run's steps in the queues. Among those of one priority, recipes share the workers evenly, however many
 * runs each has, on a server that has fairness switched on.
 *
 * @param recipe name of the recipe or of the sweep
 */
export function priorityOf(origin: RunOrigin, recipe: string): Priority {
  let fairnessKey = recipe;
  while (new TextEncoder().encode(fairnessKey).length > FAIRNESS_KEY_BYTES) fairnessKey = fairnessKey.slice(0, -1);
  return { priorityKey: PRIORITY_KEYS[origin], fairnessKey };
}
