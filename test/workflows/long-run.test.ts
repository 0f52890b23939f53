import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LookUpInput, LookUpResult, ReleaseParams, Sources, StepName } from '../../activities/contracts.ts';
import { withWholeRun } from '../../activities/release-run.ts';
import { type RunRecord, recordRun } from '../../activities/run-records.ts';
import { digestOf } from '../../artifacts/canonical-json.ts';
import { readRunStatus } from '../../artifacts/run-status.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { workflowBundle } from '../../workers/workflow-bundle.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { MAX_HISTORY_EVENTS, queueName } from '../../workflows/task-queues.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { historyFigures, RECORDING, recordHistory } from '../support/histories.ts';
import { startSoft, tinyConfig } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';
const EPOCHS = FULL ? 1000 : 60;
/** A history of the short form has room for fewer events, so that it too goes on as new a few times. */
const MAX_EVENTS = FULL ? MAX_HISTORY_EVENTS : 100;
/** Events of an epoch and its border, which come on top. */
const OF_AN_EPOCH = 60;
const QUEUE = 'long';

let folder: string;
let server: TestServer;
let connection: NativeConnection;
let store: Store;
let released: ReleaseParams | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-long-'));
  server = await startTestServer();
  connection = await NativeConnection.connect({ address: server.target.address });
  store = await openStore(join(folder, 'store'), { create: true });
});
afterAll(async () => {
  await connection?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const ref = (...of: unknown[]) => {
  const sha256 = digestOf(of);
  return { uri: `blobs/${sha256}`, sha256, bytes: 123_456_789, rows: 12_345, schema: 'softflow.windows.v1' };
};
const metrics = {
  hr: { 1: 0.0123456789012345, 5: 0.0234567890123456, 10: 0.0345678901234567 },
  ndcg: { 1: 0.0123456789012345, 5: 0.0234567890123456, 10: 0.0345678901234567 },
  existingTitles: 0.987654321098765,
};
const tested = { outputs: ['predictions'], result: metrics };
/** What each step has found, as large as it is in earnest. */
const FOUND: Record<StepName, { outputs: string[]; result: unknown }> = {
  prepareData: {
    outputs: ['interactions', 'items', 'titles', 'windowsTrain', 'windowsValid', 'windowsTest', 'card'],
    result: { counts: { read: 1e6, kept: 1e5 }, titles: 5000, windows: { train: 1e5, valid: 1e4, test: 1e4 } },
  },
  encodeTitles: { outputs: ['embeddings'], result: { rows: 5000, size: 576 } },
  trainEpoch: { outputs: ['state', 'adapter'], result: { epoch: 1, trainLoss: 1.23456789012345, globalStep: 1e6 } },
  selfDistill: { outputs: ['distilled'], result: { rows: 1e5, exactTargets: 1, existingTitles: 1, distinctTexts: 1 } },
  measureDistance: { outputs: ['distances'], result: { distance: 1.23456789012345, prompts: 1000 } },
  evaluate: tested,
  evaluatePopularity: tested,
  release: { outputs: ['metrics.json', 'lineage.json', 'adapter/adapter_config.json'], result: {} },
  renderReport: { outputs: ['report.html'], result: null },
};

/** Every step is found done, so that a run is nothing but its workflow and its records. */
const activities = {
  async lookUpStep(input: LookUpInput): Promise<LookUpResult> {
    const { step, inputs, params } = await withWholeRun(store, input);
    if (step === 'release') released = params as ReleaseParams;
    const key = digestOf({ step, inputs, params });
    const { outputs, result } = FOUND[step];
    const refs = Object.fromEntries(outputs.map((name) => [name, ref(key, name)]));
    const telemetry = { seconds: 0, resumes: 0 };
    return { key, found: { key, outputs: refs, result, reused: true, fingerprint: digestOf(0), telemetry } };
  },
  recordRun: (record: RunRecord) => recordRun(store, record).then(() => {}),
  resolveSources: async (): Promise<Sources> => ({
    model: { source: { folder: 'test/reference/tiny-llama' }, digest: digestOf('model') },
    data: { digest: digestOf('data') },
  }),
};

async function runOf(epochs: number, maxHistoryEvents: number): Promise<RunStatus & { histories: string[] }> {
  const config: RunConfigInput = tinyConfig({ train: { maxEpochs: epochs, patience: epochs } });
  const handle = await startSoft(server, QUEUE, { config, workflowId: 'long-1', maxHistoryEvents });
  await handle.result();
  const query = `WorkflowId = "${handle.workflowId}"`;
  const histories: string[] = [];
  for await (const { runId } of server.client.workflow.list({ query })) histories.push(runId);
  return { ...((await readRunStatus(store, handle.workflowId)) as RunStatus), histories };
}

test(`A run of ${EPOCHS} epochs a stage keeps every history and every payload small. (R15)`, async (context) => {
  const shared = { connection, workflowBundle: await workflowBundle(), activities };
  const workers = [QUEUE, queueName('cpu', QUEUE)].map((taskQueue) => Worker.create({ ...shared, taskQueue }));
  const [first, second] = (await Promise.all(workers)) as [Worker, Worker];
  const status = await second.runUntil(first.runUntil(runOf(EPOCHS, MAX_EVENTS)));

  const most = { events: 0, bytes: 0, largestPayload: 0 };
  for (const runId of status.histories) {
    const history = await server.client.workflow.getHandle('long-1', runId).fetchHistory();
    const figures = historyFigures(history);
    for (const name of ['events', 'bytes', 'largestPayload'] as const) most[name] = Math.max(most[name], figures[name]);
    await Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history, 'long-1');
  }
  if (RECORDING) await recordHistory(server, 'long-last', 'long-1');
  expect(status.histories.length).toBeGreaterThan(3);
  expect(most.events).toBeLessThanOrEqual(MAX_EVENTS + OF_AN_EPOCH);
  expect(most.bytes).toBeLessThanOrEqual(2 * 2 ** 20);
  expect(most.largestPayload).toBeLessThanOrEqual(16_384);

  const epochs = Array.from({ length: EPOCHS }, (_, i) => i + 1);
  for (const rows of [status.sft, status.curriculum]) expect(rows.map(({ epoch }) => epoch)).toEqual(epochs);
  expect(released?.curriculum.map(({ epoch }) => epoch)).toEqual(epochs);
  expect(released?.steps.map(({ id }) => id)).toEqual(idsOf(EPOCHS));
  expect(status.steps.map(({ id }) => id)).toEqual([...idsOf(EPOCHS), 'release', 'report']);
  expect(await readdir(join(store.root, 'runs/long-1/status'))).toHaveLength(3);
  const { histories, curriculum } = status;
  faultFigure(
    context,
    histories.length,
    `${curriculum.length} epochs a stage in ${histories.length} histories: at most ${most.events} events, ${most.bytes} bytes, ` +
      `payloads of ${most.largestPayload} bytes`,
  );
});

function idsOf(epochs: number): string[] {
  const of = (names: (epoch: number) => string[]) => Array.from({ length: epochs }, (_, i) => names(i + 1)).flat();
  return [
    ...['prepare', 'encode'],
    ...of((epoch) => [`sft-${epoch}-train`, `sft-${epoch}-validate`]),
    ...['self-distil', 'soft-0-distance'],
    ...of((epoch) => [`soft-${epoch}-train`, `soft-${epoch}-distance`, `soft-${epoch}-validate`]),
    ...['test-popularity', 'test-zeroShot', 'test-sft', 'test-soft'],
  ];
}
