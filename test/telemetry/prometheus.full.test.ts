import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { dashboardExpressions, describedIn, metricsIn, readRules } from '../support/metric-names.ts';
import { findPrometheus, OBSERVABILITY, PrometheusServer } from '../support/prometheus.ts';
import { startSoft } from '../support/soft-run.ts';
import { startTestServer } from '../support/temporal.ts';
import { tinyRun } from '../support/tiny-run.ts';
import { until } from '../support/until.ts';

const BIN = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const found = await findPrometheus();
const bin = 'bin' in found ? found.bin : '';
const without = 'missing' in found ? `; skipped: ${found.missing}` : '';

test.skipIf(without)(
  `promtool accepts configuration and rules, and every alert fires when it should${without}`,
  async () => {
    const promtool = (...args: string[]) => promisify(execFile)(join(bin, 'promtool'), args, { cwd: OBSERVABILITY });
    expect((await promtool('check', 'config', 'prometheus.yml')).stdout).toContain('is valid prometheus config');
    expect((await promtool('test', 'rules', 'rules-test.yml')).stdout).toContain('SUCCESS');
    const tested = new Set((await readRulesTest()).match(/(?<=alertname: )\w+/g));
    const alerts = (await readRules()).flatMap(({ alert }) => alert ?? []);
    expect(alerts.length).toBeGreaterThanOrEqual(13);
    expect(alerts.filter((alert) => !tested.has(alert))).toEqual([]);
  },
);

test.skipIf(without)(
  `a Prometheus scrapes a worker at work, and dashboard and alerts find all they name${without}`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'softflow-metrics-'));
    const server = await startTestServer();
    const worker = startWorkerCommand(folder, server.target.address);
    const url = await urlOf(worker);
    const prometheus = await PrometheusServer.start(bin, new URL(url).host);
    try {
      const handle = await startSoft(server, 'softflow', { config: await tinyRun(folder) });
      await until(async () => (await prometheus.query('softflow_train_loss')).length > 0, 300);
      expect((await handle.result()).phase).toBe('completed');
      await until(async () => Number((await prometheus.query('softflow:run_loss'))[0]?.value[1]) > 0);
      // The next scrape brings the end of the run.
      const ended = 'softflow_runs_ended_total{phase="completed"}';
      await until(async () => (await prometheus.query(ended))[0]?.value[1] === '1');

      const described = describedIn(await (await fetch(`${url}/metrics`)).text());
      const expressions = [...(await dashboardExpressions()), ...(await readRules()).map(({ expr }) => expr)];
      const named = [...new Set(expressions.flatMap(metricsIn))];
      expect(named.filter((name) => !described.has(name))).toEqual([]);
      for (const expression of expressions) await prometheus.query(expression);
      expect((await prometheus.query('up{job="softflow"}'))[0]?.value[1]).toBe('1');
      expect(
        Number((await prometheus.query('softflow_checkpoint_duration_seconds_count'))[0]?.value[1]),
      ).toBeGreaterThan(0);
      expect(await prometheus.query('ALERTS{alertstate="firing"}')).toEqual([]);
    } finally {
      const ended = once(worker, 'exit');
      worker.kill('SIGTERM');
      await Promise.all([ended, prometheus.stop(), server.stop()]);
      await rm(folder, { recursive: true });
    }
  },
  600_000,
);

function startWorkerCommand(folder: string, address: string): ChildProcess {
  const args = ['worker', '--store', join(folder, 'store'), '--health-port', '0', '--backend', 'tensorflow'];
  const env = { ...process.env, NODE_OPTIONS: '', TEMPORAL_ADDRESS: address };
  return spawn(process.execPath, [BIN, ...args], { cwd: folder, env, stdio: ['ignore', 'pipe', 'ignore'] });
}

async function urlOf(command: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: command.stdout as NodeJS.ReadableStream })) {
    const url = /http:\S+?(?=\/healthz)/.exec(line)?.[0];
    if (url) return url;
  }
  throw new Error('the command said nothing of its metrics');
}

async function readRulesTest(): Promise<string> {
  return readFile(join(OBSERVABILITY, 'rules-test.yml'), 'utf8');
}
