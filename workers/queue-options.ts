import type { DataConverter } from '@temporalio/common';
import type { WorkerOptions } from '@temporalio/worker';
import { type Activities, LIGHT_ACTIVITIES, LONG_ACTIVITIES } from '../activities/create-activities.ts';
import { HEARTBEAT_THROTTLE, QUEUE_OF_STEP, type QueueKind, queueName } from '../workflows/task-queues.ts';
import { logged } from './step-log.ts';
import { workflowBundle } from './workflow-bundle.ts';

/** Between the request to shut down and the cancellation of what runs; drained work is saved, so no time is given away. */
export const SHUTDOWN_GRACE = '100 ms';
/** Tensor steps use all threads of their device. */
const CONCURRENT_STEPS: Record<Exclude<QueueKind, 'workflow'>, number> = { cpu: 2, gpu: 1 };

/** What a Temporal worker of one of softflow's queues is made of. */
export async function queueOptions(
  kind: QueueKind,
  base: string,
  activities: Activities,
  converter: DataConverter = {},
): Promise<Omit<WorkerOptions, 'connection'>> {
  const taskQueue = queueName(kind, base);
  if (kind === 'workflow') {
    return {
      taskQueue,
      workflowBundle: await workflowBundle(converter),
      activities: lightActivities(activities),
      maxCachedWorkflows: 100,
      workflowThreadPoolSize: 1,
    };
  }
  const steps = Object.keys(QUEUE_OF_STEP)
    .map((name) => name as keyof typeof QUEUE_OF_STEP)
    .filter((name) => QUEUE_OF_STEP[name] === kind)
    .map((name) => [name, logged(name, activities[name])]);
  return {
    taskQueue,
    activities: { ...Object.fromEntries(steps), ...(kind === 'cpu' ? pick(activities, LONG_ACTIVITIES) : {}) },
    maxConcurrentActivityTaskExecutions: CONCURRENT_STEPS[kind],
    maxHeartbeatThrottleInterval: HEARTBEAT_THROTTLE,
    defaultHeartbeatThrottleInterval: HEARTBEAT_THROTTLE,
  };
}

/** Activities of the queue on which the workflows run. */
export function lightActivities(activities: Activities): Partial<Activities> {
  return pick(activities, LIGHT_ACTIVITIES);
}

function pick(activities: Activities, names: readonly (keyof Activities)[]): Partial<Activities> {
  return Object.fromEntries(names.map((name) => [name, activities[name]]));
}
