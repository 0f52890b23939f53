import type { WorkflowExecutionDescription } from '@temporalio/client';
import { defaultPayloadConverter, type Payload, type PayloadCodec } from '@temporalio/common';
import type { Progress } from '../activities/contracts.ts';

type Pending = NonNullable<WorkflowExecutionDescription['raw']['pendingActivities']>[number];

/** Temporal's number for a pending activity that runs; any other waits. */
const STARTED = 2;

/**
 * What the server knows of the activities at work: their last heartbeat, and why an attempt failed.
 *
 * @param codecs those of the client, which read what is encrypted
 */
export async function pendingActivities(
  { raw }: WorkflowExecutionDescription,
  codecs: readonly PayloadCodec[],
): Promise<{ progress: Progress[]; notice?: string }> {
  const pending = await Promise.all((raw.pendingActivities ?? []).map((activity) => readable(activity, codecs)));
  const progress = pending.filter(({ state }) => state === STARTED).flatMap(heartbeatOf);
  const notice = pending.map(troubleOf).find((text) => text !== undefined);
  return { progress, ...(notice ? { notice } : {}) };
}

/** Why nobody answers for a workflow. */
export function silenceOf({ raw }: WorkflowExecutionDescription): string {
  const attempt = raw.pendingWorkflowTask?.attempt ?? 1;
  return attempt > 1
    ? `A worker has tried to go on with the workflow and failed (attempt ${attempt}); its log says why.`
    : 'No worker answers for the workflow; the run waits until one is started.';
}

interface Readable {
  pending: Pending;
  state: Pending['state'];
  details: Payload | undefined;
  message: string | undefined;
}

async function readable(pending: Pending, codecs: readonly PayloadCodec[]): Promise<Readable> {
  const { heartbeatDetails, lastFailure, state } = pending;
  const details = await decode(heartbeatDetails?.payloads?.[0], codecs);
  const encoded = await decode(lastFailure?.encodedAttributes ?? undefined, codecs);
  const attributes = encoded && defaultPayloadConverter.fromPayload<{ message?: string } | null>(encoded);
  return { pending, state, details, message: attributes?.message ?? lastFailure?.message ?? undefined };
}

async function decode(payload: Payload | undefined, codecs: readonly PayloadCodec[]): Promise<Payload | undefined> {
  if (!payload) return undefined;
  let payloads = [payload];
  for (const codec of codecs.toReversed()) payloads = await codec.decode(payloads);
  return payloads[0];
}

function heartbeatOf({ details }: Readable): Progress[] {
  if (!details) return [];
  const progress = defaultPayloadConverter.fromPayload<Partial<Progress> | null>(details);
  return progress?.step && progress.position ? [progress as Progress] : [];
}

function troubleOf({ pending, state, message }: Readable): string | undefined {
  const { attempt, activityType, lastFailure } = pending;
  const name = activityType?.name ?? 'The step';
  const type = lastFailure?.applicationFailureInfo?.type;
  if (message && type === 'STEP_AT_WORK' && state !== STARTED) return message;
  // A worker that was busy has sent the step on, which is no trouble.
  if (message && type !== 'WORKER_BUSY' && (attempt ?? 1) > 1)
    return `${name}, attempt ${attempt}: the one before ended with: ${message}`;
  return state === STARTED ? undefined : `${name} waits for a worker.`;
}
