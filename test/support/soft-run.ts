import { randomUUID } from 'node:crypto';
import type { WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { DefaultLogger, makeTelemetryFilterString, Runtime } from '@temporalio/worker';
import type { Store } from '../../artifacts/store.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { startWorker } from '../../workers/worker.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import type { Attempt, RunStatus } from '../../workflows/run-state.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
import type { TestServer } from './temporal.ts';

export const STUB_JOBS = new URL('./stub-jobs.ts', import.meta.url).href;

// Activities that fail on purpose say so in the log, which is no news here.
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'ERROR' }) } },
});

// Trainers and workers that the tests start run from the sources.
process.env['NODE_OPTIONS'] = `--import ${new URL('./ts-loader.mjs', import.meta.url).href}`;

/** A run that takes a moment with the stub jobs: planted data, two epochs a stage. */
export function tinyConfig(change: Partial<RunConfigInput> = {}): RunConfigInput {
  return {
    name: 'tiny',
    model: { source: { folder: 'test/reference/tiny-llama' } },
    data: {
      source: { planted: { series: 12, minParts: 4, maxParts: 5, users: 40, seriesPerUser: 4, skip: 0.05, seed: 1 } },
      kCore: 2,
      samples: { train: 24, valid: 8, test: 12 },
    },
    train: { maxEpochs: 2, patience: 2, batchSize: 8, microBatchSize: 4 },
    soft: { curriculumAlpha: 1, distancePrompts: 8 },
    generation: { tileRows: 4, maxNewTokens: 8 },
    encode: { tileRows: 16 },
    evaluation: { ks: [1, 5, 10] },
    ...change,
  };
}

/** Workers of all queues in this process; the trainer is a process of its own, with the stub jobs. */
export function startTestWorker(server: TestServer, storeRoot: string, taskQueue: string): Promise<RunningWorker> {
  return startWorker({ target: server.target, queues: QUEUE_KINDS, taskQueue, storeRoot, jobsModule: STUB_JOBS });
}

export interface RunOptions {
  config?: unknown;
  workflowId?: string;
  maxHistoryEvents?: number;
  lastStep?: string;
  attempts?: Attempt[];
}

export function startSoft(
  server: TestServer,
  taskQueue: string,
  { workflowId = `tiny-${randomUUID().slice(0, 8)}`, ...options }: RunOptions = {},
): Promise<WorkflowHandleWithFirstExecutionRunId<typeof softWorkflow>> {
  return server.client.workflow.start<typeof softWorkflow>('softWorkflow', {
    taskQueue,
    workflowId,
    args: [{ config: tinyConfig(), heartbeatTimeoutSeconds: 3, ...options }],
  });
}

/** Text of every file that a run's folder would hold. */
export async function releasedFiles(store: Store, { steps }: RunStatus): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const { step, key } of steps) {
    if (!key || (step !== 'release' && step !== 'renderReport')) continue;
    const outputs = (await store.readManifest(key))?.outputs ?? {};
    for (const [path, ref] of Object.entries(outputs))
      files[path] = Buffer.from(await store.getBytes(ref)).toString(path.endsWith('.safetensors') ? 'latin1' : 'utf8');
  }
  return files;
}
