import type { ActivityOptions, LocalActivityOptions } from '@temporalio/common';
import type { StepName } from '../activities/contracts.ts';

/** Queue of the workflows, the look-ups and everything light; the names of the others are made from it. */
export const DEFAULT_TASK_QUEUE = 'softflow';

export type QueueKind = 'workflow' | 'cpu' | 'gpu';
export const QUEUE_KINDS: readonly QueueKind[] = ['workflow', 'cpu', 'gpu'];

/** Name of a queue; `base` is the queue on which the workflow itself runs. */
export function queueName(kind: QueueKind, base = DEFAULT_TASK_QUEUE): string {
  return kind === 'workflow' ? base : `${base}-${kind}`;
}

/** Where each step computes. */
export const QUEUE_OF_STEP: Record<StepName, Exclude<QueueKind, 'workflow'>> = {
  prepareData: 'cpu',
  encodeTitles: 'gpu',
  trainEpoch: 'gpu',
  selfDistill: 'gpu',
  measureDistance: 'gpu',
  evaluate: 'gpu',
  evaluatePopularity: 'cpu',
  release: 'cpu',
  renderReport: 'cpu',
};

/** The steps that may be handed out as several shards of whole tiles. */
export const TILE_STEPS: ReadonlySet<StepName> = new Set([
  'encodeTitles',
  'selfDistill',
  'measureDistance',
  'evaluate',
]);

/** A lost worker, a timeout, a shutdown: tried again for ever. What cannot succeed fails as non-retryable instead. */
const RETRY = { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '10 seconds' } as const;

/** What is out of our hands and may stay so: pauses grow to minutes, and attempts are counted. */
const PATIENT_RETRY = { initialInterval: '1 second', backoffCoefficient: 3, maximumInterval: '5 minutes' } as const;

/** A worker that is silent for so long counts as lost. */
export const HEARTBEAT_TIMEOUT_SECONDS = 20;
/** At most so long passes between two heartbeats that reach the server; a cancellation arrives with one. */
export const HEARTBEAT_THROTTLE = '2 seconds';

/** Beyond so many events the workflow continues as new at its next border, which then lies within 2,000. */
export const MAX_HISTORY_EVENTS = 1900;

export function lightActivityOptions(base: string): ActivityOptions {
  return { taskQueue: queueName('workflow', base), startToCloseTimeout: '1 minute', retry: RETRY };
}

/** The same beside the workflow: tried once. */
export const IN_PLACE: LocalActivityOptions = { startToCloseTimeout: '1 minute', retry: { maximumAttempts: 1 } };

/**
 * Options of a step's activity. No limit on the whole time (a step waits for a slot as long as it takes), and the
 * running time is bounded by the heartbeat alone.
 */
export function stepActivityOptions(step: StepName, base: string, heartbeatTimeoutSeconds: number): ActivityOptions {
  return longActivityOptions(QUEUE_OF_STEP[step], base, heartbeatTimeoutSeconds);
}

export type StepActivityOptions = ActivityOptions;

/** A worker that no longer asks for work on its own queue is given up so soon. */
const OWN_QUEUE_WAIT = '5 seconds';

/** The same for one try at one worker, by its own queue. */
export function onQueueOf(queue: string, options: StepActivityOptions): StepActivityOptions {
  return { ...options, taskQueue: queue, scheduleToStartTimeout: OWN_QUEUE_WAIT, retry: { maximumAttempts: 1 } };
}

export function longActivityOptions(
  kind: QueueKind,
  base: string,
  heartbeatTimeoutSeconds = HEARTBEAT_TIMEOUT_SECONDS,
  maximumAttempts?: number,
): ActivityOptions {
  return {
    taskQueue: queueName(kind, base),
    startToCloseTimeout: '30 days',
    heartbeatTimeout: `${heartbeatTimeoutSeconds} seconds`,
    retry: maximumAttempts === undefined ? RETRY : { ...PATIENT_RETRY, maximumAttempts },
    // The run ends only after the step has written what it had done.
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  };
}

/** Telling somebody is tried a few times and then given up: no worker of the cpu queue may be there for days. */
export function notifyOptions(base: string): ActivityOptions {
  return {
    ...longActivityOptions('cpu', base, HEARTBEAT_TIMEOUT_SECONDS, 5),
    scheduleToCloseTimeout: '10 minutes',
    startToCloseTimeout: '2 minutes',
  };
}
