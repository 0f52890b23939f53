import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findPackages, SINK_SERVERS, startPython } from '../support/python-servers.ts';
import { RUN, tellWholeRun } from './fixtures.ts';

const found = await findPackages(SINK_SERVERS);
const packages = 'folder' in found ? found.folder : '';
const without = 'missing' in found ? `; skipped: ${found.missing}` : '';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-servers-'));
});
afterAll(() => rm(folder, { recursive: true }));

test.skipIf(without)(
  `a real MLflow server holds the run${without}`,
  async () => {
    const database = `sqlite:///${folder}/mlflow.db`;
    const args = (port: number) => [
      ...['-m', 'mlflow', 'server', '--host', '127.0.0.1', '--port', `${port}`, '--workers', '1'],
      ...['--backend-store-uri', database, '--artifacts-destination', join(folder, 'artifacts')],
    ];
    const server = await startPython(packages, args, { cwd: folder, path: '/health' });
    try {
      await tellWholeRun(folder, { MLFLOW_TRACKING_URI: server.url, MLFLOW_EXPERIMENT_NAME: 'soft' });
      const ask = async (path: string, init: RequestInit = {}) =>
        (await (await fetch(`${server.url}/api/2.0/mlflow/${path}`, init)).json()) as never;
      const { experiment } = (await ask('experiments/get-by-name?experiment_name=soft')) as Answer;
      const body = JSON.stringify({ experiment_ids: [experiment.experiment_id] });
      const headers = { 'content-type': 'application/json' };
      const { runs } = (await ask('runs/search', { method: 'POST', body, headers })) as Answer;
      expect(runs).toHaveLength(1);
      const [run] = runs;
      expect(run?.info).toMatchObject({
        run_name: RUN,
        status: 'FINISHED',
        start_time: Date.parse('2026-01-02T03:04:05Z'),
      });
      expect(run?.data.params).toContainEqual({ key: 'train.batchSize', value: '8' });
      expect(run?.data.metrics).toContainEqual(expect.objectContaining({ key: 'test/soft_hr_10', value: 0.6 }));
      const history = `metrics/get-history?run_id=${run?.info.run_id}&metric_key=sft/step_loss`;
      const { metrics } = (await ask(history)) as Answer;
      expect(metrics.map(({ step, value }) => [step, value])).toEqual([
        [1, 3],
        [2, 2.5],
        [3, 2],
        [4, 1.5],
      ]);
    } finally {
      await server.stop();
    }
  },
  600_000,
);

test.skipIf(without)(
  `a real TensorBoard shows the run${without}`,
  async () => {
    const logs = join(folder, 'tb');
    await tellWholeRun(folder, { SOFTFLOW_TENSORBOARD_DIR: logs });
    const args = (port: number) => [
      '-m',
      'tensorboard.main',
      '--logdir',
      logs,
      '--host',
      '127.0.0.1',
      '--port',
      `${port}`,
    ];
    const server = await startPython(packages, args, { cwd: folder, path: '/data/environment' });
    try {
      const scalars = async (tag: string) => {
        const url = `${server.url}/data/plugin/scalars/scalars?run=${RUN}&tag=${encodeURIComponent(tag)}`;
        const response = await fetch(url);
        return response.ok ? ((await response.json()) as [number, number, number][]) : [];
      };
      await expect.poll(async () => (await scalars('sft/step_loss')).length, { timeout: 60_000 }).toBe(4);
      expect((await scalars('sft/step_loss')).map(([, step, value]) => [step, value])).toEqual([
        [1, 3],
        [2, 2.5],
        [3, 2],
        [4, 1.5],
      ]);
      expect((await scalars('curriculum/lambda')).map(([, step, value]) => [step, value])).toEqual([
        [1, 0.5],
        [2, 0.5],
      ]);
    } finally {
      await server.stop();
    }
  },
  600_000,
);

interface Answer {
  experiment: { experiment_id: string };
  runs: {
    info: { run_id: string };
    data: { params: object[]; metrics: object[] };
  }[];
  metrics: { step: number; value: number }[];
}
