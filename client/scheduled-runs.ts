import {
  type Client,
  type ScheduleExecutionResult,
  WorkflowFailedError,
  type WorkflowHandle,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Store } from '../artifacts/store.ts';
import { retrainStatusQuery } from '../workflows/messages.ts';
import { RETRAIN_RECORD, type RetrainStatus } from '../workflows/retrain-state.ts';
import type { retrainWorkflow } from '../workflows/retrain-workflow.ts';

/** One start of a schedule and what became of it. */
export interface ScheduledRun {
  workflowId: string;
  /** The time that it stands for: its data's cut-off. */
  scheduledAt: string;
  startedAt: string;
  state: 'running' | 'completed' | 'failed' | 'cancelled' | 'unknown';
  /** In a line: `promoted: ndcg@10 ...`, `skipped: 0 new windows`, `DRIFT: ...`. */
  summary: string;
  /** Where it stands or stood; absent when nobody knows. */
  status?: RetrainStatus;
}

type Handle = WorkflowHandle<typeof retrainWorkflow>;
type Became = Pick<ScheduledRun, 'state' | 'summary' | 'status'>;

const QUERY_TIMEOUT_MS = 3000;

/** What became of one start: from the server, or from the store once the server has forgotten it. */
export async function scheduledRun(
  client: Client,
  store: Store,
  schedule: string,
  { scheduledAt, takenAt, action }: ScheduleExecutionResult,
): Promise<ScheduledRun> {
  const { workflowId, firstExecutionRunId } = action.workflow;
  const handle = client.workflow.getHandle<typeof retrainWorkflow>(workflowId, firstExecutionRunId);
  const recorded = await recordedRetrain(store, schedule, workflowId);
  const became = (await fromServer(client, handle)) ?? fromStore(recorded);
  return {
    workflowId,
    scheduledAt: scheduledAt.toISOString(),
    startedAt: takenAt.toISOString(),
    ...(recorded ? { status: recorded } : {}),
    ...became,
  };
}

/** Undefined when the server does not know it any more. */
async function fromServer(client: Client, handle: Handle): Promise<Became | undefined> {
  try {
    const { status } = await handle.describe();
    if (status.name === 'RUNNING') return await running(client, handle);
    return ended(await handle.result());
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    if (error instanceof WorkflowFailedError) return failed(error);
    throw error;
  }
}

async function running(client: Client, handle: Handle): Promise<Became> {
  try {
    const status = await client.withDeadline(Date.now() + QUERY_TIMEOUT_MS, () => handle.query(retrainStatusQuery));
    return { state: 'running', summary: `${status.phase}, run ${status.runId}`, status };
  } catch {
    return { state: 'running', summary: 'no worker answers; it waits until one is started' };
  }
}

function ended(status: RetrainStatus): Became {
  return { state: 'completed', summary: `${status.outcome}: ${status.reason}`, status };
}

function failed({ cause }: WorkflowFailedError): Became {
  if (!(cause instanceof ApplicationFailure)) return { state: 'cancelled', summary: cause?.message ?? 'cancelled' };
  return { state: 'failed', summary: `${cause.type ?? 'FAILED'}: ${cause.message}` };
}

function fromStore(status: RetrainStatus | undefined): Became {
  if (!status) return { state: 'unknown', summary: 'the server has forgotten it, and the store has no record of it' };
  if (status.outcome) return ended(status);
  if (status.error) return { state: 'failed', summary: `${status.error.code}: ${status.error.message}` };
  return { state: 'unknown', summary: `the server has forgotten it; it was ${status.phase} last` };
}

async function recordedRetrain(store: Store, schedule: string, workflowId: string): Promise<RetrainStatus | undefined> {
  for (const runId of await store.listRuns()) {
    if (!runId.startsWith(`${schedule}-`)) continue;
    const status = (await store.readRunRecord(runId, RETRAIN_RECORD))?.value as RetrainStatus | undefined;
    if (status?.workflowId === workflowId) return status;
  }
  return undefined;
}
