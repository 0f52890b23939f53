import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore, type Store } from '../../artifacts/store.ts';
import { writeRunView } from '../../client/run-view.ts';
import { Runs } from '../../client/runs.ts';
import { decodePeftAdapter } from '../../model/peft.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

let server: TestServer;
let folder: string;
let store: Store;
let runs: Runs;
let worker: RunningWorker;
let hold: Hold;
const config = RunConfigSchema.parse(
  tinyConfig({ name: 'steady', train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 } }),
);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-runs-'));
  server = await startTestServer();
  store = await openStore(join(folder, 'store'), { create: true });
  hold = new Hold(store.root, { step: 'trainEpoch', stage: 'sft', position: 'micro-batch 6' });
  runs = new Runs({ client: server.client, store, taskQueue: 'runs', heartbeatTimeoutSeconds: 3 });
});
afterAll(async () => {
  worker?.shutdown();
  await worker?.done;
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

test('without a worker a run waits and says so', async () => {
  const runId = await runs.start(config);
  expect(runId).toMatch(/^steady-[0-9a-f]{8}$/);
  const look = await runs.look(runId);
  expect(look.status).toMatchObject({ runId, phase: 'running', stage: 'prepare' });
  expect(look.notice).toContain('No worker');
  await server.client.workflow.getHandle(runId).terminate('a person did it');
  expect((await runs.look(runId)).status).toMatchObject({ phase: 'failed', error: { code: 'TERMINATED' } });
  worker = await startTestWorker(server, store.root, 'runs');
  await runs.resume(runId);
  await expect(runs.resume(runId)).rejects.toMatchObject({ code: 'RUN_ACTIVE' });
});

test('live progress comes from the heartbeats', async () => {
  const runId = await runs.find('latest');
  await hold.reached();
  let seen: Awaited<ReturnType<typeof runs.look>> | undefined;
  await until(async () => {
    const look = await runs.look(runId);
    if (look.progress.some(({ position }) => position === 'micro-batch 6')) seen = look;
    return seen !== undefined;
  });
  expect(seen?.progress[0]).toMatchObject({ step: 'trainEpoch', unit: 'micro-batch', done: 5, total: 12 });
  expect(seen?.elapsedSeconds).toBeGreaterThan(0);
});

test('pause, resume and stop steer a run, and a stopped one can be resumed to its end', async () => {
  const runId = await runs.find('steady');
  expect(await runs.pause(runId)).toMatchObject({ phase: 'paused' });
  await expect(runs.pause(runId)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' });
  await expect(runs.resume(runId, { from: 'prepare' })).rejects.toMatchObject({ code: 'RUN_ACTIVE' });
  await runs.resume(runId, { until: 'curriculum' });
  expect((await runs.look(runId)).status.lastStep).toEqual({ id: 'soft-1-validate', reached: false });
  await runs.stop(runId, 'now');
  expect(await runs.result(runId)).toMatchObject({ phase: 'stopped' });
  expect((await runs.look(runId)).status.phase).toBe('stopped');
  await expect(runs.stop(runId, 'now')).rejects.toMatchObject({ code: 'RUN_NOT_ACTIVE' });
  hold.release();
  await runs.resume(runId);
  expect(await runs.result(runId)).toMatchObject({ phase: 'completed' });
  await expect(runs.resume(runId)).rejects.toMatchObject({ code: 'RUN_COMPLETED' });
});

const keysOf = ({ steps }: RunStatus) => new Map(steps.map(({ id, key }) => [id, key]));
const outputsOf = async ({ steps }: RunStatus) =>
  Promise.all(steps.map(async ({ key = '' }) => (await store.readManifest(key))?.outputs ?? {}));

test('a run stops after the step that was asked for, and goes on when it is resumed', async () => {
  const part = { ...config, name: 'part', seed: 5 };
  await expect(runs.start(part, { until: 'slef-distil' })).rejects.toMatchObject({ code: 'PART_UNKNOWN' });
  const runId = await runs.start(part, { until: 'sft' });
  const first = await runs.result(runId);
  expect(first).toMatchObject({ phase: 'stopped', lastStep: { id: 'sft-1-validate', reached: true } });
  expect(first.steps.filter(({ state }) => state === 'run').at(-1)?.id).toBe('sft-1-validate');
  await expect(runs.resume(runId, { until: 'encode' })).rejects.toMatchObject({ code: 'PART_REFUSED' });
  await runs.resume(runId, { until: 'soft-1-train' });
  expect(await runs.result(runId)).toMatchObject({ phase: 'stopped', lastStep: { id: 'soft-1-train', reached: true } });
  await runs.resume(runId);
  const last = await runs.result(runId);
  expect(last.phase).toBe('completed');
  expect(last).not.toHaveProperty('lastStep');
});

test('from a step on a run is computed once more, to the same bytes, and keeps what was there', async () => {
  const runId = await runs.find('part');
  const { status: before } = await runs.look(runId);
  await runs.resume(runId, { from: 'self-distil', until: 'soft-1-distance' });
  await runs.result(runId);
  await runs.resume(runId);
  const after = await runs.result(runId);
  const [old, now] = [keysOf(before), keysOf(after)];
  const again = [...now.keys()].filter((id) => now.get(id) !== old.get(id));
  expect(again).toEqual([...now.keys()].slice([...now.keys()].indexOf('self-distil')));
  const results = (status: RunStatus) =>
    status.steps.filter(({ step }) => step !== 'release' && step !== 'renderReport');
  expect(await outputsOf({ ...after, steps: results(after) })).toEqual(
    await outputsOf({ ...before, steps: results(before) }),
  );
  const metrics = async (status: RunStatus) =>
    (await store.readManifest(keysOf(status).get('release') ?? ''))?.outputs['metrics.json'];
  expect(await metrics(after)).toEqual(await metrics(before));
});

test('the store alone tells where runs stand, and knows them by name', async () => {
  const offline = new Runs({ store });
  const runId = await offline.find('steady');
  expect((await offline.look(runId)).status.phase).toBe('completed');
  expect(await offline.config(runId)).toEqual(JSON.parse(JSON.stringify(config)));
  expect(await offline.list()).toEqual([await offline.find('part'), runId]);
  await expect(offline.find('nothing')).rejects.toMatchObject({
    code: 'RUN_NOT_FOUND',
    message: expect.stringContaining(runId),
  });
});

test('a failed run gives its code, and its record outlives the server’s', async () => {
  const runId = await runs.start({ ...config, evaluation: { ...config.evaluation, ks: [5000] } });
  await expect(runs.result(runId)).rejects.toMatchObject({ code: 'CATALOGUE_TOO_SMALL' });
  const { status } = await new Runs({ store }).look(runId);
  expect(status).toMatchObject({ phase: 'failed', error: { code: 'CATALOGUE_TOO_SMALL' } });
});

test('a run’s folder is made from the store, and latest points to it', async () => {
  const runId = (await runs.list()).at(-1) as string;
  const runsFolder = join(folder, 'runs');
  const view = await writeRunView(store, runId, runsFolder);
  await writeRunView(store, runId, runsFolder);
  expect((await readdir(view)).sort()).toEqual([
    'adapter',
    'lineage.json',
    'metrics.json',
    'report.html',
    'run.json',
    'status.json',
    'summary.json',
    'telemetry.json',
  ]);
  expect(await readlink(join(runsFolder, 'latest'))).toBe(runId);
  expect((await lstat(join(runsFolder, 'latest'))).isSymbolicLink()).toBe(true);
  const run = JSON.parse(await readFile(join(view, 'run.json'), 'utf8'));
  expect(run).toMatchObject({ runId, config: { name: 'steady' }, fingerprint: { backend: 'stub' } });
  expect(run.lineage.steps.map(({ id }: { id: string }) => id)).toContain('soft-1-train');
  const adapter = await decodePeftAdapter(join(view, 'adapter'));
  expect(adapter.lora).toMatchObject({ rank: 8, targets: ['q_proj', 'v_proj'] });
});

test('a worker that finds no server says which', async () => {
  const target = { address: '127.0.0.1:1', namespace: 'default' };
  await expect(startWorker({ target, queues: ['cpu'], storeRoot: join(folder, 'other') })).rejects.toMatchObject({
    code: 'TEMPORAL_UNREACHABLE',
  });
});
