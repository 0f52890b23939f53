import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packageRoot } from '../../setup/paths.ts';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { STUB_JOBS, tinyConfig } from '../support/soft-run.ts';
import { startTestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';
import { WorkerProcess } from '../support/worker-process.ts';

test('one trace leads from the command to the trainer, and its id stands in the log', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-traces-'));
  const [server, receiver] = await Promise.all([startTestServer(), startOtlpReceiver()]);
  const otel = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url };
  const [store, log] = [join(folder, '.softflow', 'store'), join(folder, 'worker.log')];
  const worker = new WorkerProcess(server, store, 'softflow', otel, STUB_JOBS, { queues: QUEUE_KINDS, log });
  try {
    const change = {
      model: { source: { folder: join(packageRoot(), 'test/reference/tiny-llama') } },
      train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 },
    };
    await writeFile(join(folder, 'tiny.yaml'), JSON.stringify(tinyConfig(change)));
    const bin = join(packageRoot(), 'bin', 'softflow.mjs');
    const env = { ...process.env, NODE_OPTIONS: '', TEMPORAL_ADDRESS: server.target.address, ...otel };
    await promisify(execFile)(process.execPath, [bin, 'run', 'tiny.yaml', '--json'], { cwd: folder, env });
    await worker.stop();

    await until(() => receiver.spans().some(({ name }) => name === 'softflow run'));
    const spans = receiver.spans();
    const [command] = spans.filter(({ name }) => name === 'softflow run');
    expect(command).toMatchObject({ service: 'softflow', status: { code: 0 } });
    expect(command?.parentSpanId).toBeUndefined();
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([command?.traceId]));
    const activities = spans.filter(({ parentSpanId }) => parentSpanId === command?.spanId);
    const names = new Set(activities.map(({ name }) => name));
    for (const name of ['lookUpStep', 'prepareData', 'trainEpoch', 'selfDistill', 'renderReport', 'recordRun'])
      expect(names).toContain(name);
    const trained = activities.filter(({ name }) => name === 'trainEpoch');
    expect(trained).toHaveLength(2);
    expect(trained[0]?.attributes['softflow.run']).toMatch(/^tiny-[0-9a-f]{8}$/);
    const jobs = spans.filter(({ name }) => name === 'trainer: trainEpoch');
    expect(jobs.map(({ parentSpanId }) => parentSpanId).sort()).toEqual(trained.map(({ spanId }) => spanId).sort());

    const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.startsWith('{'));
    const begun = lines.map((line) => JSON.parse(line)).filter(({ message }) => /^trainEpoch begins/.test(message));
    expect(begun.map(({ trace }) => trace)).toEqual([command?.traceId, command?.traceId]);
  } finally {
    worker.process.kill('SIGKILL');
    await Promise.all([server.stop(), receiver.close()]);
    await rm(folder, { recursive: true, force: true });
  }
});
