import type { DataConverter, WorkerDeploymentVersion } from '@temporalio/common';
import type { WorkerOptions } from '@temporalio/worker';
import { type Activities, LIGHT_ACTIVITIES, LONG_ACTIVITIES } from '../activities/create-activities.ts';
import { HEARTBEAT_THROTTLE, QUEUE_OF_STEP, type QueueKind, queueName } from '../workflows/task-queues.ts';
import { deviceTuner } from './device-slots.ts';
import type { Machine } from './machine.ts';
import { logged } from './step-log.ts';
import { workflowBundle } from './workflow-bundle.ts';

/** Between the request to shut down and the cancellation of what runs; drained work is saved, so no time is given away. */
export const SHUTDOWN_GRACE = '100 ms';
const CONCURRENT_CPU_STEPS = 2;
/** Open runs that are kept ready; one that is not is replayed at its next turn. */
const CACHED_WORKFLOWS = 250;
/** One that works, and another that is told so, at once or after the quarter of a second that a quick job takes. */
const OWN_QUEUE_SLOTS = 2;
const HEARTBEATS = {
  maxHeartbeatThrottleInterval: HEARTBEAT_THROTTLE,
  defaultHeartbeatThrottleInterval: HEARTBEAT_THROTTLE,
} as const;

export type QueueOptions = Omit<WorkerOptions, 'connection'> & { taskQueue: string };
type Served = Pick<Machine, 'activities' | 'tensorWorker'>;

/**
 * What the Temporal workers of one of softflow's queues are made of; two for tensor steps, whose second one serves the
 * machine's own queue.
 *
 * @param version build as which workflows are served
 */
export async function queueOptions(
  kind: QueueKind,
  base: string,
  { activities, tensorWorker: { queue, device } }: Served,
  converter: DataConverter = {},
  version?: WorkerDeploymentVersion,
): Promise<QueueOptions[]> {
  const taskQueue = queueName(kind, base);
  if (kind === 'workflow') return [await workflowOptions(taskQueue, activities, converter, version)];
  const steps = { activities: stepsOf(kind, activities), ...HEARTBEATS };
  if (kind === 'gpu')
    return [
      { ...steps, taskQueue, tuner: deviceTuner(device) },
      { ...steps, taskQueue: queue, maxConcurrentActivityTaskExecutions: OWN_QUEUE_SLOTS },
    ];
  const all = { ...steps.activities, ...pick(activities, LONG_ACTIVITIES) };
  return [{ ...steps, taskQueue, activities: all, maxConcurrentActivityTaskExecutions: CONCURRENT_CPU_STEPS }];
}

async function workflowOptions(
  taskQueue: string,
  activities: Activities,
  converter: DataConverter,
  version?: WorkerDeploymentVersion,
): Promise<QueueOptions> {
  return {
    taskQueue,
    workflowBundle: await workflowBundle(converter),
    activities: lightActivities(activities),
    maxCachedWorkflows: CACHED_WORKFLOWS,
    workflowThreadPoolSize: 1,
    ...(version
      ? { workerDeploymentOptions: { version, useWorkerVersioning: true, defaultVersioningBehavior: 'PINNED' } }
      : {}),
  };
}

function stepsOf(kind: QueueKind, activities: Activities): Partial<Activities> {
  const names = Object.keys(QUEUE_OF_STEP) as (keyof typeof QUEUE_OF_STEP)[];
  const steps = names.filter((name) => QUEUE_OF_STEP[name] === kind);
  return Object.fromEntries(steps.map((name) => [name, logged(name, activities[name])]));
}

/** Activities of the queue on which the workflows run. */
export function lightActivities(activities: Activities): Partial<Activities> {
  return pick(activities, LIGHT_ACTIVITIES);
}

function pick(activities: Activities, names: readonly (keyof Activities)[]): Partial<Activities> {
  return Object.fromEntries(names.map((name) => [name, activities[name]]));
}
