import { NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import {
  type Activities,
  createActivities,
  LIGHT_ACTIVITIES,
  LONG_ACTIVITIES,
} from '../activities/create-activities.ts';
import { openStore } from '../artifacts/store.ts';
import { type TemporalTarget, unreachable } from '../client/connect.ts';
import {
  DEFAULT_TASK_QUEUE,
  HEARTBEAT_THROTTLE,
  QUEUE_OF_STEP,
  type QueueKind,
  queueName,
} from '../workflows/task-queues.ts';
import type { BackendChoice } from './backend-choices.ts';
import { machinePlaces } from './places.ts';
import { jsonLogger, logged } from './step-log.ts';
import { TrainerClient } from './trainer-client.ts';
import { checkWorker, stateOf, type WorkerHealth } from './worker-health.ts';
import { workflowBundle } from './workflow-bundle.ts';

export interface SoftflowWorkerOptions {
  target: TemporalTarget;
  /** Which queues this process serves. */
  queues: readonly QueueKind[];
  /** Base name of the queues. */
  taskQueue?: string;
  /** Folder of the artifact store; made when it is not there. */
  storeRoot: string;
  backend?: BackendChoice;
  /** URL of a module of job bodies in place of softflow's own. */
  jobsModule?: string;
}

export interface RunningWorker extends WorkerHealth {
  /** Resolves once the worker has shut down, running activities having been drained; rejects when it broke. */
  done: Promise<void>;
  /** Stops polling, drains what runs. */
  shutdown(): void;
}

/** Between the request to shut down and the cancellation of what runs; drained work is saved, so no time is given away. */
const SHUTDOWN_GRACE = '100 ms';
/** Tensor steps use all threads of their device. */
const CONCURRENT_STEPS: Record<Exclude<QueueKind, 'workflow'>, number> = { cpu: 2, gpu: 1 };

/**
 * Starts the Temporal workers of one process, one a queue. SIGTERM, SIGINT and `shutdown` end them gracefully: steps are
 * drained to their next border and go on elsewhere, or here after the next start.
 *
 * @throws SoftflowError `TEMPORAL_UNREACHABLE`, and those of the store
 */
export async function startWorker(options: SoftflowWorkerOptions): Promise<RunningWorker> {
  const { target, queues, storeRoot, backend, jobsModule, taskQueue = DEFAULT_TASK_QUEUE } = options;
  const store = await openStore(storeRoot, { create: true });
  const trainer = new TrainerClient({
    storeRoot: store.root,
    ...(backend ? { backend } : {}),
    ...(jobsModule ? { jobsModule } : {}),
  });
  const activities = createActivities({ store, trainer, places: machinePlaces });
  const { namespace, ...connectionOptions } = target;
  const connection = await NativeConnection.connect(connectionOptions).catch((cause: unknown) => {
    throw unreachable(target.address, cause);
  });
  const shared = { connection, namespace, shutdownGraceTime: SHUTDOWN_GRACE };
  const workers = await Promise.all(
    queues.map(async (kind) => Worker.create({ ...shared, ...(await queueOptions(kind, taskQueue, activities)) })),
  );
  const shutdown = () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const run = async () => {
    // One that breaks takes the others with it: half a process would look alive and serve nothing.
    const ends = await Promise.allSettled(workers.map((worker) => worker.run().finally(shutdown)));
    trainer.close();
    await connection.close();
    const broken = ends.find((end) => end.status === 'rejected');
    if (broken) throw broken.reason;
  };
  return {
    done: run(),
    shutdown,
    state: () => stateOf(workers),
    check: () => checkWorker(workers, connection, store.root),
  };
}

/** Log lines as JSON on the error output; to be called before the first worker or connection. */
export function installRuntime(): void {
  Runtime.install({ logger: jsonLogger() });
}

async function queueOptions(
  kind: QueueKind,
  base: string,
  activities: Activities,
): Promise<Omit<WorkerOptions, 'connection'>> {
  const taskQueue = queueName(kind, base);
  if (kind === 'workflow') {
    return {
      taskQueue,
      workflowBundle: await workflowBundle(),
      activities: pick(activities, LIGHT_ACTIVITIES),
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

function pick(activities: Activities, names: readonly (keyof Activities)[]): Partial<Activities> {
  return Object.fromEntries(names.map((name) => [name, activities[name]]));
}
