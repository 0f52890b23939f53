import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startHealthServer } from '../../workers/health-server.ts';
import { type WorkerChecks, workerRoutes } from '../../workers/worker-health.ts';
import { startTestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
let folder: string;
let child: ChildProcess | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-health-'));
});
afterEach(async () => {
  child?.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

const ask = async (url: string, path: string, init: RequestInit = {}) => {
  const response = await fetch(url + path, init);
  return { status: response.status, body: await response.text() };
};

test('answers probes by what the worker says of itself, and nothing else', async () => {
  let checks: WorkerChecks | undefined;
  const worker = () => checks && { state: () => checks?.workers as string, check: async () => checks as WorkerChecks };
  const server = await startHealthServer({ port: 0 }, workerRoutes(worker));
  const look = async () => [(await ask(server.url, '/healthz')).status, (await ask(server.url, '/readyz?x=1')).status];
  try {
    expect(await look()).toEqual([200, 503]);
    checks = { workers: 'ok', temporal: 'ok', store: 'ok' };
    expect(await look()).toEqual([200, 200]);
    checks = { workers: 'ok', temporal: 'deadline exceeded', store: 'ok' };
    expect(await look()).toEqual([200, 503]);
    expect(JSON.parse((await ask(server.url, '/readyz')).body)).toEqual({ status: 'not ready', ...checks });
    checks = { workers: 'draining', temporal: 'ok', store: 'ok' };
    expect(await look()).toEqual([200, 503]);
    checks = { workers: 'failed', temporal: 'ok', store: 'ok' };
    expect(await look()).toEqual([503, 503]);
    for (const path of ['/', '/metrics/../x', '/__proto__', '/constructor'])
      expect([path, (await ask(server.url, path)).status]).toEqual([path, 404]);
    expect((await ask(server.url, '/healthz', { method: 'POST' })).status).toBe(405);
    expect(await ask(server.url, '/healthz', { method: 'HEAD' })).toEqual({ status: 503, body: '' });
  } finally {
    await server.close();
  }
});

test('a port that is taken and an address of another machine are refused', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  const refused = (what: string) =>
    expect.objectContaining({ code: 'HEALTH_CANNOT_LISTEN', message: expect.stringContaining(what) });
  await expect(startHealthServer({ port }, {})).rejects.toEqual(refused(`port ${port} of 127.0.0.1`));
  await expect(startHealthServer({ port: 0, host: '192.0.2.1' }, {})).rejects.toEqual(refused('192.0.2.1'));
  taken.close();
});

test('softflow worker is ready while server and store are there, and ends with 0 at SIGTERM', async () => {
  const server = await startTestServer();
  const store = join(folder, 'store');
  const args = ['worker', '--queues', 'cpu', '--store', store, '--health-port', '0'];
  child = spawn(process.execPath, [bin, ...args], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, TEMPORAL_ADDRESS: server.target.address },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const url = await urlOf(child);
  const ready = async () => (await ask(url, '/readyz')).status;
  await until(async () => (await ready()) === 200);
  const metrics = (await ask(url, '/metrics')).body;
  for (const name of ['softflow_build_info{version="', 'softflow_store_free_bytes ', 'temporal_worker_start_total{'])
    expect(metrics).toContain(`\n${name}`);
  let whileDown: number[] = [];
  await server.restart(async () => {
    whileDown = [await ready(), (await ask(url, '/healthz')).status];
  });
  expect(whileDown).toEqual([503, 200]);
  await until(async () => (await ready()) === 200);
  await rm(store, { recursive: true });
  expect(await ready()).toBe(503);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  await server.stop();
});

/** What the command says of its probes. */
async function urlOf(command: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: command.stdout as NodeJS.ReadableStream })) {
    const url = /http:\S+?(?=\/healthz)/.exec(line)?.[0];
    if (url) return url;
  }
  throw new Error('the command said nothing of its probes');
}
