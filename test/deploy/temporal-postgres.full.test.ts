import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunLook } from '../../client/runs.ts';
import { freePort, type PostgresServer, postgresFiles, startPostgres } from '../support/postgres.ts';
import { adminTools, ensureServerPrograms, temporalServerMissing } from '../support/temporal-server.ts';
import { tinyRun } from '../support/tiny-run.ts';
import { until } from '../support/until.ts';
import { composeServices, DEPLOY, ROOT, temporalVersion } from './deploy-files.ts';

const missing = 'missing' in postgresFiles ? postgresFiles.missing : temporalServerMissing;
const title = `the deployment on a real Temporal server with PostgreSQL${missing ? ` (skipped, ${missing})` : ''}`;
const services = composeServices();
const MINUTES = 60_000;

describe.skipIf(missing !== undefined)(title, () => {
  let folder: string;
  let postgres: PostgresServer;
  let temporal: ChildProcess;
  let address: string;
  let startServer: () => ChildProcess;
  const children: ChildProcess[] = [];

  /** A service's variables, with the addresses of this machine in place of those of the compose network. */
  const environmentOf = (service: string): Record<string, string> => ({
    ...services[service]?.environment,
    ...('POSTGRES_SEEDS' in (services[service]?.environment ?? {})
      ? {
          POSTGRES_SEEDS: '127.0.0.1',
          DB_PORT: String(postgres.port),
          POSTGRES_USER: 'shop',
          POSTGRES_PWD: postgres.password,
        }
      : {}),
    ...('TEMPORAL_ADDRESS' in (services[service]?.environment ?? {}) ? { TEMPORAL_ADDRESS: address } : {}),
  });
  const log = (name: string) => openSync(join(folder, `${name}.log`), 'a');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-deploy-'));
    const { server, sql, schema } = await ensureServerPrograms(temporalVersion());
    const PATH = `${await adminTools(join(folder, 'bin'), sql)}:${process.env['PATH']}`;
    postgres = await startPostgres();
    const ports = await lowPorts(9);
    const [grpc] = ports;
    address = `127.0.0.1:${grpc}`;
    const [, http, ...others] = ports.map(String);
    const [matching, history, worker, members, members2, members3, members4] = others;
    const own = {
      BIND_ON_IP: '127.0.0.1',
      FRONTEND_GRPC_PORT: String(grpc),
      FRONTEND_HTTP_PORT: String(http),
      MATCHING_GRPC_PORT: String(matching),
      HISTORY_GRPC_PORT: String(history),
      WORKER_GRPC_PORT: String(worker),
      FRONTEND_MEMBERSHIP_PORT: String(members),
      MATCHING_MEMBERSHIP_PORT: String(members2),
      HISTORY_MEMBERSHIP_PORT: String(members3),
      WORKER_MEMBERSHIP_PORT: String(members4),
      DYNAMIC_CONFIG_FILE_PATH: join(DEPLOY, 'temporal', 'dynamic-config.yaml'),
    };
    const script = (service: string, name: string) =>
      promisify(execFile)('/bin/sh', [join(DEPLOY, 'temporal', name)], {
        env: { ...environmentOf(service), PATH, SCHEMA_FOLDER: schema, HOME: folder },
        timeout: 5 * MINUTES,
      });
    // Twice: an upgrade runs it again.
    for (let i = 0; i < 2; i++) await script('temporal-schema', 'setup-schema.sh');
    startServer = () => {
      const output = log('temporal');
      const child = spawn(server, ['start'], {
        cwd: folder,
        env: { ...environmentOf('temporal'), ...own, HOME: folder },
        stdio: ['ignore', output, output],
      });
      children.push(child);
      return child;
    };
    temporal = startServer();
    for (let i = 0; i < 2; i++) await script('temporal-namespace', 'setup-namespace.sh');
    expect(
      spawnSync(server, ['validate-dynamic-config', own.DYNAMIC_CONFIG_FILE_PATH], { encoding: 'utf8' }),
    ).toMatchObject({ status: 0 });
  }, 30 * MINUTES);

  afterAll(async () => {
    for (const child of children.reverse()) await end(child);
    await postgres?.stop();
    await rm(folder, { recursive: true, force: true });
  }, 5 * MINUTES);

  async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM') {
    const began = performance.now();
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, 'exit');
    }
    return { code: child.exitCode, seconds: (performance.now() - began) / 1000 };
  }

  const command = [join(ROOT, 'bin', 'softflow.mjs')];
  const environment = (service: string) => ({
    ...environmentOf(service),
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    ...(process.env['SOFTFLOW_CACHE'] ? { SOFTFLOW_CACHE: process.env['SOFTFLOW_CACHE'] } : {}),
  });
  /** A service of the compose file as a process, its probes on a port of its own. */
  async function start(service: string, volume: string) {
    const port = await freePort();
    const args = (services[service]?.command ?? []).map((arg) =>
      arg === '8080' ? String(port) : arg === '0.0.0.0' ? '127.0.0.1' : arg,
    );
    const output = log(service);
    const child = spawn(process.execPath, [...command, ...args], {
      cwd: volume,
      env: environment(service),
      stdio: ['ignore', output, output],
    });
    children.push(child);
    const ready = () =>
      fetch(`http://127.0.0.1:${port}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(async () => child.exitCode !== null || (await ready()), 120);
    expect(child.exitCode).toBeNull();
    return child;
  }
  async function softflow(volume: string, ...args: string[]): Promise<string> {
    const options = { cwd: volume, env: environment('softflow'), maxBuffer: 2 ** 26 };
    return (await promisify(execFile)(process.execPath, [...command, ...args], options)).stdout;
  }
  const look = async (volume: string, runId: string) =>
    JSON.parse(await softflow(volume, 'status', runId, '--json')) as RunLook;
  async function volumeWithRecipe(name: string): Promise<string> {
    const volume = join(folder, name);
    await mkdir(volume);
    // Long enough that a slow look finds it at work.
    const train = { batchSize: 16, microBatchSize: 4, learningRate: 3e-3, warmupSteps: 2, maxEpochs: 12, patience: 12 };
    await writeFile(join(volume, 'tiny.yaml'), JSON.stringify(await tinyRun(volume, { train })));
    return volume;
  }
  const WORKERS = ['worker-workflow', 'worker-cpu', 'worker-tensor'];

  test(
    'a run survives the drain of its tensor worker and the death of the server, and ends with the same bytes',
    async () => {
      const volume = await volumeWithRecipe('disturbed');
      const [workflow, cpu, tensor] = await Promise.all(WORKERS.map((service) => start(service, volume)));
      const started = await softflow(volume, 'run', 'tiny.yaml', '--detach', '--json');
      const runId = /"runId":"([^"]+)"/.exec(started)?.[1] as string;
      const tensorSteps = ['encodeTitles', 'trainEpoch'];
      await until(async () => {
        const { steps } = (await look(volume, runId)).status;
        return steps.some(({ step, state }) => tensorSteps.includes(step) && state !== 'pending');
      }, 300);
      const drained = await end(tensor as ChildProcess);
      expect(drained).toMatchObject({ code: 0 });
      expect(drained.seconds).toBeLessThan(30);
      const other = await start('worker-tensor', volume);
      await end(temporal, 'SIGKILL');
      await sleep(1000);
      temporal = startServer();
      await until(async () => (await look(volume, runId).catch(() => undefined))?.status.phase === 'completed', 900);
      for (const child of [workflow, cpu, other]) expect(await end(child as ChildProcess)).toMatchObject({ code: 0 });

      const calm = await volumeWithRecipe('calm');
      const calmWorkers = await Promise.all(WORKERS.map((service) => start(service, calm)));
      await softflow(calm, 'run', 'tiny.yaml', '--json');
      for (const child of calmWorkers) await end(child);
      const metrics = (where: string) => readFile(join(where, '.softflow/runs/latest/metrics.json'), 'utf8');
      await softflow(volume, 'status', runId);
      expect(await metrics(volume)).toBe(await metrics(calm));
    },
    40 * MINUTES,
  );
});

/** Free ports as PostgreSQL can keep those of the server's parts, in 15 bits. */
async function lowPorts(count: number): Promise<number[]> {
  const found: number[] = [];
  for (let port = 20_000 + (process.pid % 10_000); found.length < count; port++) {
    const probe = createServer().listen(port, '127.0.0.1');
    const free = await Promise.race([
      once(probe, 'listening').then(() => true),
      once(probe, 'error').then(() => false),
    ]);
    if (!free) continue;
    probe.close();
    await once(probe, 'close');
    found.push(port);
  }
  return found;
}
