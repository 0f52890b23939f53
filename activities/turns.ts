import { activityInfo, Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Store } from '../artifacts/store.ts';
import type { StepInput } from './contracts.ts';

/** One attempt at a step, by the names that the server has for it. */
export interface Attempt {
  workflowId: string;
  runId: string;
  activityId: string;
  number: number;
}

/** Temporal's numbers for a pending activity that a worker has: started, or asked to end or to pause. */
const AT_WORK = [2, 3, 5];

/** The attempt that is being made; undefined outside of a workflow. */
export function thisAttempt(): Attempt | undefined {
  const { workflowExecution, activityId, attempt } = activityInfo();
  return workflowExecution && { ...workflowExecution, activityId, number: attempt };
}

/**
 * An epoch is computed in one piece, so a second run that wants it leaves it to the one whose attempt was noted first, for as
 * long as the server counts that one as at work: there is no claim that could outlive its owner.
 *
 * @throws ApplicationFailure `STEP_AT_WORK`, retryable: by then the epoch is done, or its worker is lost
 */
export async function leaveToOthers(store: Store, { step, key }: StepInput<unknown>): Promise<void> {
  const mine = thisAttempt();
  if (step !== 'trainEpoch' || !mine) return;
  const others = new Map<string, Attempt>();
  for (const { attempt } of (await store.readTelemetry(key)) as { attempt?: Attempt }[]) {
    if (!attempt) continue;
    if (attempt.runId !== mine.runId) others.set(attempt.runId, attempt);
    else if (attempt.activityId === mine.activityId && attempt.number === mine.number) break;
  }
  for (const other of others.values()) if (await isAtWork(other)) throw atWork(other);
}

async function isAtWork({ workflowId, runId, activityId, number }: Attempt): Promise<boolean> {
  try {
    const { raw } = await Context.current().client.workflow.getHandle(workflowId, runId).describe();
    return (raw.pendingActivities ?? []).some(
      (pending) =>
        pending.activityId === activityId && pending.attempt === number && AT_WORK.includes(Number(pending.state)),
    );
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

function atWork({ workflowId }: Attempt): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'STEP_AT_WORK',
    message: `The run ${workflowId} computes this epoch already; its result is taken, or what it has saved if it is lost.`,
    nonRetryable: false,
    nextRetryDelay: '5 s',
  });
}
