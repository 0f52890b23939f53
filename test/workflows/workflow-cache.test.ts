import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createActivities } from '../../activities/create-activities.ts';
import { Device } from '../../activities/tensor-worker.ts';
import { openStore } from '../../artifacts/store.ts';
import { machinePlaces } from '../../workers/places.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import { workflowBundle } from '../../workers/workflow-bundle.ts';
import { queueName } from '../../workflows/task-queues.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { STUB_JOBS, startSoft, tinyConfig } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

const QUEUE = 'cache';

let folder: string;
let server: TestServer;
let steps: RunningWorker;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-cache-'));
  server = await startTestServer();
  const options = { target: server.target, taskQueue: QUEUE, storeRoot: join(folder, 'store'), jobsModule: STUB_JOBS };
  steps = await startWorker({ ...options, queues: ['cpu', 'gpu'] });
});
afterAll(async () => {
  steps?.shutdown();
  await steps?.done;
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Runs work while a worker serves the workflows that keeps so many of them; each of the others is replayed at every turn. */
async function withCacheOf<T>(maxCachedWorkflows: number, work: () => Promise<T>): Promise<T> {
  const connection = await NativeConnection.connect({ address: server.target.address });
  const unused = { submit: () => expect.unreachable('no tensor step here') };
  const store = await openStore(join(folder, 'store'));
  const worker = await Worker.create({
    connection,
    taskQueue: queueName('workflow', QUEUE),
    workflowBundle: await workflowBundle(),
    activities: createActivities({
      store,
      trainer: unused,
      places: machinePlaces,
      tensorWorker: { identity: 'unused', queue: 'unused', device: new Device() },
    }),
    maxCachedWorkflows,
  });
  try {
    return await worker.runUntil(work);
  } finally {
    await connection.close();
  }
}

test('Two runs at once end in the same way with a cache of no workflow and of one. (R13)', async (context) => {
  const config = { ...tinyConfig(), train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 } };
  const ends: string[][] = [];
  for (const cached of [0, 1])
    ends.push(
      await withCacheOf(cached, async () => {
        const runs = await Promise.all([1, 2].map((seed) => startSoft(server, QUEUE, { config: { ...config, seed } })));
        const statuses = await Promise.all(runs.map((run) => run.result()));
        // The report names its run, and so does its key.
        const made = statuses.map(({ steps: done }) => done.filter(({ step }) => step !== 'renderReport'));
        return made.map((done) => done.map(({ id, key }) => `${id} ${key}`).join());
      }),
    );
  expect(ends[1]).toEqual(ends[0]);
  expect(ends[0]?.[0]).not.toBe(ends[0]?.[1]);
  faultFigure(context, 4, 'with a cache of no workflow and of one');
});
