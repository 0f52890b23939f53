import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore } from '../../artifacts/store.ts';
import { Builds } from '../../client/builds.ts';
import { Runs } from '../../client/runs.ts';
import { ONE_PARTITION } from '../../workers/supervisor.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import { priorityOf } from '../../workflows/priority.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { RECORDING, recordHistory } from '../support/histories.ts';
import { STUB_JOBS, startSoft, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';
import { WorkerProcess } from '../support/worker-process.ts';

let server: TestServer;
let folder: string;
const workers: RunningWorker[] = [];
const processes: WorkerProcess[] = [];
const config = tinyConfig({ train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 } });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-moves-'));
  server = await startTestServer({ args: [...ONE_PARTITION] });
});
afterAll(async () => {
  for (const process of processes) process.process.kill('SIGTERM');
  for (const worker of workers) worker.shutdown();
  await Promise.all([...processes.map(({ exited }) => exited), ...workers.map(({ done }) => done)]);
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const rootOf = (name: string) => join(folder, name);
async function serve(name: string, buildId?: string): Promise<RunningWorker> {
  const version = buildId === undefined ? {} : { version: { deploymentName: 'softflow-test', buildId } };
  const options = { target: server.target, taskQueue: name, storeRoot: rootOf(name), jobsModule: STUB_JOBS };
  const worker = await startWorker({ ...options, queues: ['workflow', 'cpu'], ...version });
  workers.push(worker);
  return worker;
}
function tensorProcess(name: string): WorkerProcess {
  const process = new WorkerProcess(server, rootOf(name), name, {}, STUB_JOBS, { queues: ['gpu'] });
  processes.push(process);
  return process;
}
const identityOf = ({ process }: WorkerProcess) => `${process.pid}@${hostname()}`;

/** Tensor steps in the order in which they began: by whom, from which queue. */
async function tensorSteps({ workflowId }: Pick<WorkflowHandle, 'workflowId'>) {
  const { events = [] } = await server.client.workflow.getHandle(workflowId).fetchHistory();
  const scheduled = new Map(
    events?.map((event) => [String(event.eventId), event.activityTaskScheduledEventAttributes]),
  );
  return (events ?? []).flatMap(({ activityTaskStartedEventAttributes: started }) => {
    const queue = started && scheduled.get(String(started.scheduledEventId))?.taskQueue?.name;
    return queue?.includes('-gpu') ? [{ queue, worker: started?.identity }] : [];
  });
}

test('a step whose worker ends goes on at another, and status says where', async () => {
  const store = await openStore(rootOf('moved'), { create: true });
  const runs = new Runs({ client: server.client, store, taskQueue: 'moved', heartbeatTimeoutSeconds: 3 });
  await serve('moved');
  const first = tensorProcess('moved');
  let hold = new Hold(store.root, { step: 'trainEpoch', stage: 'sft', position: 'micro-batch 6' });
  const runId = await runs.start(RunConfigSchema.parse(config));
  await hold.reached();
  expect((await runs.look(runId)).moved).toBeUndefined();
  const began = performance.now();
  first.process.kill('SIGTERM');
  expect(await first.exited).toEqual({ code: 0, signal: null });
  expect(performance.now() - began).toBeLessThan(10_000);
  hold = new Hold(store.root, { step: 'trainEpoch', stage: 'sft', position: 'micro-batch 7' });
  const second = tensorProcess('moved');
  await hold.reached();
  const { status, moved } = await runs.look(runId);
  expect(moved).toEqual({ 'sft-1-train': { from: identityOf(first), to: identityOf(second), count: 1 } });
  hold.release();
  expect(await runs.result(runId)).toMatchObject({ phase: 'completed' });
  const { key } = status.steps.find(({ id }) => id === 'sft-1-train') as { key: string };
  const attempts = (await store.readTelemetry(key)) as { worker?: string; resumes: number }[];
  expect(attempts.flatMap(({ worker }) => worker ?? [])).toEqual([identityOf(first), identityOf(second)]);
  expect(attempts.at(-1)?.resumes).toBe(1);
});

test('steps go to the worker that holds the model, and to another soon after that one is killed', async () => {
  const name = 'near';
  await serve(name);
  const both = [tensorProcess(name), tensorProcess(name)];
  const hold = new Hold(rootOf(name), { step: 'selfDistill', position: 'tile 2' });
  const run = await startSoft(server, name, { config });
  await hold.reached();
  const before = await tensorSteps(run);
  expect(before[0]?.queue).toBe('near-gpu');
  const own = before[1]?.queue ?? '';
  expect(own).toMatch(new RegExp(`^near-gpu\\.${hostname()}\\.[0-9a-f]{8}$`));
  expect(new Set(before.slice(1).map(({ queue }) => queue))).toEqual(new Set([own]));
  expect(new Set(before.map(({ worker }) => worker)).size).toBe(1);
  const holder = both.find((process) => identityOf(process) === before[0]?.worker) as WorkerProcess;
  hold.release();
  const next = new Hold(rootOf(name), { step: 'trainEpoch', stage: 'soft', position: 'micro-batch 6' });
  await next.reached();
  holder.process.kill('SIGKILL');
  await holder.exited;
  next.release();
  expect(await run.result()).toMatchObject({ phase: 'completed' });
  const after = (await tensorSteps(run)).filter(({ worker }) => worker !== identityOf(holder));
  expect(after[0]?.queue).toBe('near-gpu');
  expect(after.length).toBeGreaterThan(3);
  expect(new Set(after.slice(1).map(({ queue }) => queue))).toEqual(new Set([after[1]?.queue]));
  expect(after[1]?.queue).not.toBe(own);
  if (RECORDING) await recordHistory(server, 'moved', run.workflowId);
});

test('a run that a person started passes a sweep in the queue', async () => {
  const name = 'queue';
  await serve(name);
  const start = (workflowId: string, seed: number, origin: 'manual' | 'sweep') =>
    server.client.workflow.start('softWorkflow', {
      taskQueue: name,
      workflowId,
      priority: priorityOf(origin, workflowId),
      args: [{ config: { ...config, seed, encode: { tileRows: 8 + seed } }, heartbeatTimeoutSeconds: 3 }],
    });
  const waiting = (handle: WorkflowHandle) =>
    until(async () => (await handle.describe()).raw.pendingActivities?.[0]?.activityType?.name === 'encodeTitles');
  const sweeps = await Promise.all([start('sweep-1', 1, 'sweep'), start('sweep-2', 2, 'sweep')]);
  await Promise.all(sweeps.map(waiting));
  const manual = await start('manual', 3, 'manual');
  await waiting(manual);
  tensorProcess(name);
  await Promise.all([manual.result(), ...sweeps.map((handle) => handle.result())]);
  const began = async (handle: WorkflowHandle) => {
    const { events } = await handle.fetchHistory();
    const step = events?.find(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'encodeTitles',
    );
    const started = events?.find(
      (event) => String(event.activityTaskStartedEventAttributes?.scheduledEventId) === String(step?.eventId),
    );
    return Number(started?.eventTime?.seconds) + Number(started?.eventTime?.nanos) / 1e9;
  };
  const [first, ...others] = await Promise.all([manual, ...sweeps].map(began));
  for (const other of others) expect(first).toBeLessThan(other);
});

test('a run ends with the build it began with, while new runs begin with the next one', async () => {
  const name = 'builds';
  const builds = new Builds(server.client, 'softflow-test');
  expect(await builds.list()).toEqual([]);
  await serve(name, '1.0.0');
  await expect(builds.use('2.0.0')).rejects.toMatchObject({ code: 'BUILD_NOT_FOUND' });
  await until(async () => (await builds.list()).length === 1);
  await builds.use('1.0.0');
  tensorProcess(name);
  const hold = new Hold(rootOf(name), { step: 'trainEpoch', stage: 'sft', position: 'micro-batch 6' });
  const old = await startSoft(server, name, { config });
  await hold.reached();

  await serve(name, '2.0.0');
  await until(async () => (await builds.list()).some(({ buildId }) => buildId === '2.0.0'));
  await builds.use('2.0.0');
  const next = await startSoft(server, name, { config: { ...config, seed: 7 } });
  hold.release();
  for (const run of [old, next]) expect(await run.result()).toMatchObject({ phase: 'completed' });
  expect(await buildsOf(old)).toEqual(['1.0.0']);
  expect(await buildsOf(next)).toEqual(['2.0.0']);
  const status = Object.fromEntries((await builds.list()).map((build) => [build.buildId, build.status]));
  expect(status['2.0.0']).toBe('current');
  expect(['draining', 'drained']).toContain(status['1.0.0']);
  if (RECORDING) await recordHistory(server, 'pinned', old.workflowId);
});

/** Builds that worked on a workflow. */
async function buildsOf(run: WorkflowHandle): Promise<string[]> {
  const { events } = await run.fetchHistory();
  const completed = (events ?? []).flatMap((event) => event.workflowTaskCompletedEventAttributes ?? []);
  return [
    ...new Set(
      completed.map(
        ({ deploymentVersion, workerDeploymentVersion }) =>
          deploymentVersion?.buildId ?? workerDeploymentVersion ?? 'none',
      ),
    ),
  ];
}
