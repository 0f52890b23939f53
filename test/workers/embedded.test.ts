import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStore } from '../../artifacts/store.ts';
import { connect } from '../../client/connect.ts';
import { Runs } from '../../client/runs.ts';
import { devPaths, readDevState } from '../../workers/dev-state.ts';
import { ensureEmbedded, findEmbedded, stopEmbedded } from '../../workers/embedded.ts';
import { isRunning } from '../../workers/process-identity.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { STUB_JOBS, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { freePort } from '../support/temporal.ts';
import { until } from '../support/until.ts';

let stateFolder: string;
beforeEach(async () => {
  stateFolder = await mkdtemp(join(tmpdir(), 'softflow-embedded-'));
});
afterEach(async () => {
  await stopEmbedded(stateFolder);
  await rm(stateFolder, { recursive: true, force: true });
});

const options = async () => ({
  stateFolder,
  port: await freePort(),
  uiPort: await freePort(),
  jobsModule: STUB_JOBS,
});
const processesOf = async () => {
  const state = await readDevState(stateFolder);
  return state ? [state.supervisor, state.server, ...state.workers.map((worker) => worker.process)] : [];
};

test('a run goes on while server, workers and supervisor die one after the other', async () => {
  const begun = await ensureEmbedded(await options());
  expect(begun.attached).toBe(false);
  expect(begun.target.address).toMatch(/^127\.0\.0\.1:/);
  const attached = await ensureEmbedded({ stateFolder });
  expect(attached).toMatchObject({ attached: true, target: begun.target });

  const client = await connect(begun.target);
  const store = await openStore(devPaths(stateFolder).store, { create: true });
  const runs = new Runs({ client, store, heartbeatTimeoutSeconds: 3 });
  const hold = new Hold(store.root, { step: 'trainEpoch', position: 'micro-batch 6' });
  const runId = await runs.start(RunConfigSchema.parse(tinyConfig()));
  await hold.reached();

  const before = (await readDevState(stateFolder)) as NonNullable<Awaited<ReturnType<typeof readDevState>>>;
  for (const { process: worker } of before.workers) process.kill(worker.pid, 'SIGKILL');
  process.kill(before.server?.pid as number, 'SIGKILL');
  await until(async () => {
    const state = await findEmbedded(stateFolder);
    return state?.state.workers.every(({ process: worker, restarts }) => restarts === 1 && isRunning(worker)) ?? false;
  }, 60);

  // A supervisor that is gone is replaced by the next command, which keeps what runs.
  const { state } = (await findEmbedded(stateFolder)) as NonNullable<Awaited<ReturnType<typeof findEmbedded>>>;
  process.kill(state.supervisor.pid, 'SIGKILL');
  await until(() => !isRunning(state.supervisor));
  const repaired = await ensureEmbedded({ stateFolder, jobsModule: STUB_JOBS });
  expect(repaired.state.server).toEqual(state.server);
  expect(repaired.state.workers.map((worker) => worker.process)).toEqual(state.workers.map((worker) => worker.process));

  hold.release();
  expect(await runs.result(runId)).toMatchObject({ phase: 'completed' });
  await client.connection.close();

  const processes = await processesOf();
  expect(processes.every(isRunning)).toBe(true);
  expect(await stopEmbedded(stateFolder)).toBe(true);
  expect(processes.filter(isRunning)).toEqual([]);
  expect(await stopEmbedded(stateFolder)).toBe(false);
});

test('a port that must be this one and is taken is an error that names it', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  try {
    await expect(ensureEmbedded({ stateFolder, port })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(String(port)),
    });
  } finally {
    taken.close();
  }
});

test('a server that cannot start says where to look', async () => {
  const fake = join(stateFolder, 'temporal');
  await writeFile(fake, '#!/bin/sh\nif [ "$1" = --version ]; then exit 0; fi\necho broken\nexit 1\n', { mode: 0o755 });
  const path = process.env['PATH'];
  process.env['PATH'] = `${stateFolder}:${path}`;
  try {
    await expect(ensureEmbedded(await options())).rejects.toMatchObject({ code: 'TEMPORAL_NOT_STARTED' });
    expect(await readFile(join(devPaths(stateFolder).logs, 'server.log'), 'utf8')).toContain('broken');
  } finally {
    process.env['PATH'] = path;
  }
});

test('a supervisor that dies before it can say why is told, with its log', async () => {
  const kept = process.env['NODE_OPTIONS'];
  process.env['NODE_OPTIONS'] = `--import ${pathToFileURL(join(stateFolder, 'nowhere.mjs')).href}`;
  try {
    await expect(ensureEmbedded(await options())).rejects.toMatchObject({
      code: 'DEV_NOT_STARTED',
      message: expect.stringContaining('supervisor.log'),
    });
    expect(await readFile(join(devPaths(stateFolder).logs, 'supervisor.log'), 'utf8')).toContain('nowhere.mjs');
  } finally {
    process.env['NODE_OPTIONS'] = kept;
  }
});
