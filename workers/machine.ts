import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { type Activities, createActivities } from '../activities/create-activities.ts';
import type { Replacements } from '../activities/replace.ts';
import { Device, type TensorWorker } from '../activities/tensor-worker.ts';
import { openStore, type Store } from '../artifacts/store.ts';
import { packageVersion } from '../setup/paths.ts';
import { Sinks } from '../sinks/sinks.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import { WorkerMetrics } from '../telemetry/worker-metrics.ts';
import { queueName } from '../workflows/task-queues.ts';
import { trainerTraces } from './activity-traces.ts';
import type { BackendChoice } from './backend-choices.ts';
import { machineMemory } from './estimator.ts';
import { writeLogLine } from './log-lines.ts';
import { machinePlaces } from './places.ts';
import { TrainerClient } from './trainer-client.ts';

/** What a process that serves steps works with. */
export interface MachineOptions {
  /** Folder of the artifact store; made when it is not there. */
  storeRoot: string;
  /** What tensor steps compute with. @default 'auto' */
  backend?: BackendChoice;
  /** What tensor steps may use of a GPU's memory. @default all of it */
  maxVramBytes?: number;
  /** Activities of your own in the place of softflow's. */
  replace?: Replacements;
  /** URL of a module of job bodies in place of softflow's own. */
  jobsModule?: string;
}

/** A process that serves steps. */
export interface Machine {
  activities: Activities;
  trainer: TrainerClient;
  store: Store;
  metrics: WorkerMetrics;
  tensorWorker: TensorWorker;
}

/**
 * Every activity over a store, a trainer process that starts with the first tensor step, the files of this machine and the
 * sinks that its environment names.
 *
 * @param base name of the workflow's queue
 * @param identity of the worker, as the Temporal UI shows it
 * @throws SoftflowError `REPLACEMENT_INVALID`, and those of the store
 */
export async function openMachine(
  { storeRoot, backend, maxVramBytes, replace = {}, jobsModule }: MachineOptions,
  base: string,
  identity = `${process.pid}@${hostname()}`,
  tracing?: Tracing,
): Promise<Machine> {
  const store = await openStore(storeRoot, { create: true });
  const metrics = new WorkerMetrics({
    version: packageVersion(),
    storeRoot: store.root,
    memoryLimitBytes: machineMemory(),
  });
  const trainer = new TrainerClient(
    {
      storeRoot: store.root,
      ...(backend ? { backend } : {}),
      ...(maxVramBytes === undefined ? {} : { maxVramBytes }),
      ...(jobsModule ? { jobsModule } : {}),
    },
    {
      died: (death) => metrics.trainerDied(death),
      saved: ({ seconds, bytes }) => metrics.checkpointSaved(seconds, bytes),
      ...(tracing ? trainerTraces(tracing) : {}),
    },
  );
  metrics.watchTrainer(trainer);
  const sinks = openSinks(store, metrics);
  const recorded = (runId: string, status: unknown) => {
    metrics.runRecorded(runId, status);
    return sinks.recorded(runId, status);
  };
  // A queue that no other worker has.
  const queue = `${queueName('gpu', base)}.${hostname()}.${randomBytes(4).toString('hex')}`;
  const tensorWorker = { identity, queue, device: new Device() };
  const activities = createActivities({ store, trainer, places: machinePlaces, tensorWorker, recorded }, replace);
  return { activities, trainer, store, metrics, tensorWorker };
}

function openSinks(store: Store, metrics: WorkerMetrics): Sinks {
  return new Sinks({
    store,
    env: process.env,
    failed: (sink, error) => {
      metrics.sinkFailed(sink);
      writeLogLine({ level: 'WARN', source: 'worker', message: `${sink} was not told: ${reasonOf(error)}` });
    },
  });
}

/** A failed `fetch` says why in its cause. */
function reasonOf({ message, cause }: Error): string {
  return cause instanceof Error && cause.message !== '' ? `${message} (${cause.message})` : message;
}
