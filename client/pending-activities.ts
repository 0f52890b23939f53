import type { WorkflowExecutionDescription } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import type { Progress } from '../activities/contracts.ts';

type Pending = NonNullable<WorkflowExecutionDescription['raw']['pendingActivities']>[number];

/** Temporal's number for a pending activity that runs; any other waits. */
const STARTED = 2;

/** What the server knows of the activities at work: their last heartbeat, and why an attempt failed. */
export function pendingActivities({ raw }: WorkflowExecutionDescription): { progress: Progress[]; notice?: string } {
  const pending = raw.pendingActivities ?? [];
  const progress = pending.filter(({ state }) => state === STARTED).flatMap(heartbeatOf);
  const notice = pending.map(troubleOf).find((text) => text !== undefined);
  return { progress, ...(notice ? { notice } : {}) };
}

function heartbeatOf({ heartbeatDetails }: Pending): Progress[] {
  const payload = heartbeatDetails?.payloads?.[0];
  if (!payload) return [];
  const details = defaultPayloadConverter.fromPayload<Partial<Progress> | null>(payload);
  return details?.step && details.position ? [details as Progress] : [];
}

function troubleOf({ state, attempt, lastFailure, activityType }: Pending): string | undefined {
  const name = activityType?.name ?? 'The step';
  const message = lastFailure?.message;
  if (message && (attempt ?? 1) > 1) return `${name}, attempt ${attempt}: the one before ended with: ${message}`;
  return state === STARTED ? undefined : `${name} waits for a worker.`;
}
