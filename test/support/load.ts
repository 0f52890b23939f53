import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError, WorkflowExecutionAlreadyStartedError, type WorkflowHandle } from '@temporalio/client';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { startSoft, tinyConfig } from './soft-run.ts';
import type { TestServer } from './temporal.ts';
import { until } from './until.ts';

export interface LoadFigures {
  started: number;
  completed: number;
  seconds: number;
  /** What the server's list of workflows counts as completed and as begun. */
  visible: { completed: number; begun: number };
}

export type SoftHandle = WorkflowHandle<typeof softWorkflow>;

/**
 * A run of one epoch a stage, each step one tile, whose training no other run shares; its data and what depends on data
 * alone are shared.
 */
export function loadConfig(index: number): RunConfigInput {
  return tinyConfig({
    name: 'load',
    train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4, learningRate: 1e-3 * (1 + index / 10_000) },
    evaluation: { ks: [10], zeroShot: false },
    generation: { tileRows: 32, maxNewTokens: 8 },
  });
}

/** Starts `total` runs, never more than `atOnce` of them open, and waits for all to end. */
export async function runLoad(
  server: TestServer,
  taskQueue: string,
  { total, atOnce }: { total: number; atOnce: number },
): Promise<{ figures: LoadFigures; handles: SoftHandle[] }> {
  const handles: SoftHandle[] = [];
  let next = 0;
  let completed = 0;
  const client = async () => {
    while (next < total) {
      const index = next++;
      const handle = await startRun(server, taskQueue, index);
      handles.push(handle);
      if ((await endOf(handle)).phase === 'completed') completed++;
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: atOnce }, client));
  const seconds = (performance.now() - began) / 1000;
  const figures = { started: handles.length, completed, seconds, visible: await visible(server, taskQueue, total) };
  return { figures, handles };
}

/** Starts a run of its own training; a busy server that answers late has started it only once. */
export async function startRun(server: TestServer, taskQueue: string, index: number): Promise<SoftHandle> {
  const workflowId = `${taskQueue}-${index}`;
  try {
    return await patiently(() => startSoft(server, taskQueue, { config: loadConfig(index), workflowId }));
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    return server.client.workflow.getHandle<typeof softWorkflow>(workflowId);
  }
}

export const endOf = (handle: SoftHandle): Promise<RunStatus> => patiently(() => handle.result());

/** Asks again while the server has no time to answer; how a run ends is no such thing. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      await sleep(1000);
    }
  }
}

/** The list follows what happens after a moment. */
async function visible(server: TestServer, taskQueue: string, total: number): Promise<LoadFigures['visible']> {
  const count = async (more: string) =>
    (await server.client.workflow.count(`TaskQueue = "${taskQueue}" AND WorkflowType = "softWorkflow"${more}`)).count;
  await until(async () => (await count(' AND ExecutionStatus = "Completed"')) >= total).catch(() => {});
  return { completed: await count(' AND ExecutionStatus = "Completed"'), begun: await count('') };
}
