import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { evaluatePopularity } from '../../activities/evaluate-popularity.ts';
import type { Replacements } from '../../activities/replace.ts';
import type { StepBody } from '../../activities/step-contracts.ts';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { defineRun } from '../../cli/define-run.ts';
import { readReleasedRun } from '../../client/run-results.ts';
import { Runs } from '../../client/runs.ts';
import { decodeItems, decodeWindows, encodePredictions } from '../../datasets/tables.ts';
import { predictionMetrics } from '../../report/metrics.ts';
import { SoftflowPlugin, type SoftflowPluginOptions } from '../../workers/plugin.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { greetingWorkflow } from '../support/own-workflows.ts';
import { STUB_JOBS, tinyConfig } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

let server: TestServer;
let folder: string;
let storeRoot: string;
let store: Store;
let connection: NativeConnection;
const config = defineRun(tinyConfig({ train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 } }));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-plugin-'));
  storeRoot = join(folder, 'store');
  server = await startTestServer();
  store = await openStore(storeRoot, { create: true });
  connection = await NativeConnection.connect({ address: server.target.address });
});
afterAll(async () => {
  await connection?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const plugin = (options: Partial<SoftflowPluginOptions> = {}) =>
  new SoftflowPlugin({ storeRoot, jobsModule: STUB_JOBS, ...options });
const teamWorker = (taskQueue: string, options: Partial<WorkerOptions> = {}) =>
  Worker.create({ connection, taskQueue, ...options });

/** A run on a worker of one's own, with its status and the states of its steps. */
async function runOn(
  taskQueue: string,
  worker: Worker,
): Promise<{ status: RunStatus; states: Record<string, string> }> {
  const runs = new Runs({ client: server.client, store, taskQueue, heartbeatTimeoutSeconds: 3 });
  const status = await worker.runUntil(async () => runs.result(await runs.start(config)));
  return { status, states: Object.fromEntries(status.steps.map(({ id, state }) => [id, state])) };
}

/** Of the first test; the later ones reuse its steps. */
let first: RunStatus;

test('a worker of a team runs SOFT beside its own workflows, on its own queue, and ends as one', async () => {
  const worker = await teamWorker('team', {
    workflowsPath: fileURLToPath(new URL('../support/own-workflows.ts', import.meta.url)),
    activities: { greet: async (name: string) => `Hello, ${name}` },
    plugins: [plugin()],
  });
  const greeting = server.client.workflow.execute<typeof greetingWorkflow>('greetingWorkflow', {
    taskQueue: 'team',
    workflowId: 'greeting',
    args: ['team'],
  });
  const { status } = await runOn('team', worker);
  first = status;
  expect(await greeting).toBe('Hello, team');
  expect(status.phase).toBe('completed');
  expect(worker.getState()).toBe('STOPPED');
  expect(new Set(status.steps.map(({ state }) => state))).toEqual(new Set(['run']));
});

test('a replaced step is computed by own code, under keys of its own; the rest is reused', async () => {
  const seen: string[] = [];
  /** Every target at the first rank: absurd on purpose. */
  const compute: StepBody<'evaluatePopularity'> = async (store, { inputs, params }) => {
    seen.push(inputs.windows.schema ?? '');
    const [items, windows] = [await store.getBytes(inputs.items), await store.getBytes(inputs.windows)];
    const predictions = decodeWindows(windows).map(({ windowId, target }) => {
      const targetRow = decodeItems(items)[target]?.titleRow as number;
      return { windowId, targetRow, text: '', rank: 1, distance: 0, nearest: 0, exists: false, valid: true };
    });
    const ref = await store.putBytes(encodePredictions(predictions), { schema: 'predictions' });
    return { outputs: { predictions: ref }, result: predictionMetrics(predictions, params.ks, false) };
  };
  const replace = { evaluatePopularity: { contractVersion: 1000, compute } };
  const worker = await teamWorker('replaced', { plugins: [plugin({ replace })] });
  const { status, states } = await runOn('replaced', worker);
  const { 'test-popularity': popularity, release, report, ...others } = states;
  expect([popularity, release, report]).toEqual(['run', 'run', 'run']);
  expect(new Set(Object.values(others))).toEqual(new Set(['reused']));
  expect(seen).toEqual(['windows']);
  const step = status.steps.find(({ id }) => id === 'test-popularity');
  const manifest = await store.readManifest(step?.key ?? '');
  expect(manifest).toMatchObject({ contractVersion: 1000, result: { hr: { 10: 1 } } });
  expect(first.steps.find(({ id }) => id === 'test-popularity')?.key).not.toBe(step?.key);
  const { files } = await readReleasedRun(store, status.runId);
  const metrics = JSON.parse(Buffer.from(await store.getBytes(files['metrics.json'] as ArtifactRef)).toString());
  expect(metrics.models.popularity.test.hr['1']).toBe(1);
});

test('a replacement that leaves out an output fails the run, and no manifest says that it is done', async () => {
  const compute = (async () => ({ outputs: {}, result: {} })) as unknown as StepBody<'evaluatePopularity'>;
  const replace = { evaluatePopularity: { contractVersion: 1001, compute } };
  const worker = await teamWorker('incomplete', { plugins: [plugin({ replace })] });
  await expect(runOn('incomplete', worker)).rejects.toMatchObject({
    code: 'STEP_OUTPUT_MISSING',
    message: expect.stringContaining('missing: predictions'),
  });
});

test('ACTIVITY_NAME_TAKEN: an activity of the team has a name of softflow’s', async () => {
  const activities = { recordRun: async () => {} };
  await expect(teamWorker('taken', { activities, plugins: [plugin()] })).rejects.toMatchObject({
    code: 'ACTIVITY_NAME_TAKEN',
    message: expect.stringContaining('recordRun'),
  });
});

test('REPLACEMENT_INVALID: another name, no function, a version of softflow’s own', async () => {
  const compute = evaluatePopularity;
  for (const [replace, fault] of [
    [
      { evaluatPopularity: { contractVersion: 1000, compute } },
      /evaluatPopularity: expected one of .*evaluatePopularity/,
    ],
    [{ lookUpStep: async () => {} }, /lookUpStep/],
    [{ evaluatePopularity: compute }, /with a function/],
    [{ evaluatePopularity: { contractVersion: 2, compute } }, /from 1000 on, got 2/],
    [{ notify: {} }, /notify: expected a function/],
  ] as const)
    await expect(
      teamWorker('invalid', { plugins: [plugin({ replace: replace as unknown as Replacements })] }),
    ).rejects.toMatchObject({ code: 'REPLACEMENT_INVALID', message: expect.stringMatching(fault) });
});
