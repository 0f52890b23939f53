import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore } from '../../artifacts/store.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import { statusQuery } from '../../workflows/messages.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { releasedFiles, startSoft, tinyConfig } from '../support/soft-run.ts';
import { Hold, type Place } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { gone, WorkerProcess } from '../support/worker-process.ts';

type Run = WorkflowHandle<typeof softWorkflow>;

let server: TestServer;
let folder: string;
const workflowWorkers: RunningWorker[] = [];
const processes: WorkerProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-kill-'));
  server = await startTestServer();
});
afterAll(async () => {
  await Promise.all(processes.map((worker) => worker.stop()));
  for (const worker of workflowWorkers) worker.shutdown();
  await Promise.all(workflowWorkers.map((worker) => worker.done));
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Workflow queue in this process, everything that computes in another one. */
async function openQueue(name: string): Promise<void> {
  const storeRoot = join(folder, name);
  workflowWorkers.push(await startWorker({ target: server.target, queues: ['workflow'], taskQueue: name, storeRoot }));
}
function openProcess(name: string, env: Record<string, string> = {}): WorkerProcess {
  const worker = new WorkerProcess(server, join(folder, name), name, env);
  processes.push(worker);
  return worker;
}

const filesOf = async (name: string, run: Run) =>
  releasedFiles(await openStore(join(folder, name)), await run.result());
/** Enough tiles in each step to be killed between two of them. */
const config = tinyConfig({ generation: { tileRows: 2, maxNewTokens: 8 } });

test('a run whose trainer, worker and both are killed ends with the bytes of an undisturbed one', async () => {
  await openQueue('calm');
  const calm = openProcess('calm');
  const undisturbed = await filesOf('calm', await startSoft(server, 'calm', { config }));
  await calm.stop();

  await openQueue('killed');
  let worker = openProcess('killed');
  const place = (step: string, position: string, more = {}) => ({ step, position, ...more });
  /** Each lies between two saves of its step, and comes after the one before. */
  const kills: { at: Place; victims: 'trainer' | 'worker' | 'both'; signal: NodeJS.Signals }[] = [
    { at: place('trainEpoch', 'micro-batch 6', { stage: 'sft', epoch: 1 }), victims: 'trainer', signal: 'SIGKILL' },
    { at: place('selfDistill', 'tile 4'), victims: 'worker', signal: 'SIGKILL' },
    { at: place('trainEpoch', 'micro-batch 6', { stage: 'soft', epoch: 1 }), victims: 'both', signal: 'SIGKILL' },
    { at: place('trainEpoch', 'micro-batch 7', { stage: 'soft', epoch: 2 }), victims: 'worker', signal: 'SIGTERM' },
    // The base model's test is the first evaluation of so many tiles.
    { at: place('evaluate', 'tile 5'), victims: 'trainer', signal: 'SIGTERM' },
  ];
  let hold = new Hold(join(folder, 'killed'), kills[0]?.at as Place);
  const run = await startSoft(server, 'killed', { config });
  for (const [index, { victims, signal }] of kills.entries()) {
    await hold.reached();
    const trainer = await worker.trainer();
    if (victims !== 'worker') process.kill(trainer.pid, signal);
    if (victims !== 'trainer') {
      worker.process.kill(signal);
      await worker.exited;
    }
    // Also the trainer whose worker is gone: it ends by itself.
    await gone(trainer);
    const next = kills[index + 1];
    if (next) hold = new Hold(join(folder, 'killed'), next.at);
    else hold.release();
    if (victims !== 'trainer') worker = openProcess('killed');
  }

  const files = await filesOf('killed', run);
  expect(files['metrics.json']).toBe(undisturbed['metrics.json']);
  expect(files['adapter/adapter_model.safetensors']).toBe(undisturbed['adapter/adapter_model.safetensors']);
  const telemetry = JSON.parse(files['telemetry.json'] ?? '');
  for (const label of [
    'SFT epoch 1: train',
    'Self-distil',
    'SOFT round 1: train',
    'SOFT round 2: train',
    'Test: base model',
  ])
    expect([label, telemetry.steps[label].resumes]).toEqual([label, 1]);
});

test('three deaths at one micro-batch end the run with NO_PROGRESS; without the cause it can be resumed', async () => {
  await openQueue('deadly');
  const deadly = openProcess('deadly', { STUB_CRASH: 'trainEpoch, micro-batch 6' });
  const run = await startSoft(server, 'deadly', { workflowId: 'deadly-1' });
  const error = (await run.result().catch((caught: unknown) => caught)) as WorkflowFailedError;
  expect(error).toBeInstanceOf(WorkflowFailedError);
  const failure = error.cause as ApplicationFailure;
  expect(failure).toBeInstanceOf(ApplicationFailure);
  expect(failure).toMatchObject({ type: 'NO_PROGRESS', nonRetryable: true });
  expect(failure.message).toContain('micro-batch 6');
  expect(failure.details?.[0]).toMatchObject({ signal: 'SIGKILL', deaths: 3 });
  await deadly.stop();

  openProcess('deadly');
  expect(await (await startSoft(server, 'deadly', { workflowId: 'deadly-1' })).result()).toMatchObject({
    phase: 'completed',
  });
});

test('a trainer that no longer moves is replaced', async () => {
  await openQueue('hanging');
  openProcess('hanging', { STUB_HANG: 'selfDistill, tile 3' });
  const run = await startSoft(server, 'hanging', { config: tinyConfig({ stallTimeout: 2 }) });
  expect(await run.result()).toMatchObject({ phase: 'completed' });
  const store = await openStore(join(folder, 'hanging'));
  const { key } = (await run.query(statusQuery)).steps.find(({ id }) => id === 'self-distil') as { key: string };
  expect(await store.deathsAt(key, [3])).toMatchObject([{ stalled: true }]);
});
