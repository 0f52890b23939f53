import type { RunConfig } from './run-config.ts';
import { plannedSteps } from './run-plan.ts';
import type { Attempt } from './run-state.ts';

/** Place of a step among all that a run may take; -1 for one that is in no plan. */
export function orderOf(config: RunConfig, id: string): number {
  return plannedSteps(config).findIndex((step) => step.id === id);
}

/** Whether a step comes after another one; never for a step that is in no plan. */
export function comesAfter(config: RunConfig, id: string, other: string): boolean {
  return orderOf(config, id) > orderOf(config, other);
}

/** The parameters of a step; in a later attempt with its name, which gives the step a key of its own. */
export function ofAttempt(config: RunConfig, attempts: readonly Attempt[], id: string, params: unknown): unknown {
  const attempt = attempts.findLast(({ from }) => orderOf(config, id) >= orderOf(config, from));
  return attempt ? { ...(params as object), attempt: attempt.name } : params;
}
