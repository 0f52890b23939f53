import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { crc32c } from '../../sinks/event-file.ts';
import type { Sink } from '../../sinks/sink.ts';
import { configuredSinks, Sinks } from '../../sinks/sinks.ts';
import { until } from '../support/until.ts';
import { type Received, RecordedStore, RUN, startReceiver } from './fixtures.ts';

let folder: string;
let run: RecordedStore;
let failures: string[];
let receiver: Awaited<ReturnType<typeof startReceiver>> | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-sinks-'));
  run = await RecordedStore.open(join(folder, 'store'));
  failures = [];
  receiver = undefined;
});
afterEach(async () => {
  await receiver?.close();
  await rm(folder, { recursive: true });
});

const sinks = (env: Record<string, string>) =>
  new Sinks({ store: run.store, env, failed: (sink, { message }) => failures.push(`${sink}: ${message}`) });

/** Brings the run further and tells the sinks, through another worker each time. */
async function tell(env: Record<string, string>, ...record: Parameters<RecordedStore['record']>): Promise<void> {
  await run.record(...record);
  await sinks(env).report(RUN);
}

test('without an environment that names them there are none', () => {
  expect(configuredSinks({ PATH: '/bin' })).toEqual([]);
});

test('MLflow is told parameters once, each metric once, and how the run ended', async () => {
  receiver = await startReceiver(mlflow);
  const env = {
    MLFLOW_TRACKING_URI: `${receiver.url}/`,
    MLFLOW_TRACKING_TOKEN: 'secret',
    MLFLOW_EXPERIMENT_NAME: 'e 1',
  };
  await tell(env, 'running', 0, 0);
  await tell(env, 'running', 1, 0);
  await tell(env, 'running', 2, 1);
  await tell(env, 'completed', 2, 1);
  await tell(env, 'completed', 2, 1);
  expect(failures).toEqual([]);
  const { received } = receiver;
  expect(received[0]?.path).toBe('/api/2.0/mlflow/experiments/get-by-name?experiment_name=e%201');
  expect(new Set(received.map(({ authorization }) => authorization))).toEqual(new Set(['Bearer secret']));
  expect(sent('runs/create').map(({ run_name, start_time }) => [run_name, start_time])).toEqual([
    [RUN, Date.parse('2026-01-02T03:04:05.000Z')],
  ]);
  const params = sent('runs/log-batch').flatMap(({ params = [] }) => params as { key: string; value: string }[]);
  expect(params).toContainEqual({ key: 'train.batchSize', value: '8' });
  expect(params).toContainEqual({ key: 'name', value: 'tiny' });
  expect(metrics()).toEqual([
    'sft/train_loss 2 @1',
    'sft/validation_hr_10 0.25 @1',
    'sft/validation_ndcg_10 0.125 @1',
    'sft/step_loss 3 @1',
    'sft/step_loss 2.5 @2',
    'sft/train_loss 1 @2',
    'sft/validation_hr_10 0.5 @2',
    'sft/validation_ndcg_10 0.125 @2',
    'sft/step_loss 2 @3',
    'sft/step_loss 1.5 @4',
    'curriculum/train_loss 2 @1',
    'curriculum/lambda 0.5 @1',
    'curriculum/distance 8 @1',
    'curriculum/validation_hr_10 0.25 @1',
    'curriculum/validation_ndcg_10 0.125 @1',
    'test/chance_hr_10 0.1 @0',
    'test/chance_ndcg_10 0.04 @0',
    'test/soft_hr_1 0.2 @0',
    'test/soft_hr_10 0.6 @0',
    'test/soft_ndcg_10 0.4 @0',
  ]);
  expect(sent('runs/update').map(({ status }) => status)).toEqual(['FINISHED']);
});

test('a worker that died before it noted the run of MLflow leaves no second one', async () => {
  receiver = await startReceiver((request) =>
    request.path.endsWith('runs/search') ? { body: { runs: [{ info: { run_id: 'known' } }] } } : mlflow(request),
  );
  await tell({ MLFLOW_TRACKING_URI: receiver.url }, 'running', 1, 0);
  expect(sent('runs/create')).toEqual([]);
  expect(sent('runs/log-batch').map(({ run_id }) => run_id)).toEqual(['known']);
});

test('OpenLineage hears of a start and an end, by the same run, and of what was made', async () => {
  receiver = await startReceiver(() => ({ status: 201 }));
  const env = { OPENLINEAGE_URL: receiver.url, OPENLINEAGE_API_KEY: 'secret', OPENLINEAGE_NAMESPACE: 'team' };
  await tell(env, 'running', 0, 0);
  await tell(env, 'running', 1, 0);
  await tell(env, 'failed', 1, 0);
  await tell(env, 'running', 1, 0);
  await tell(env, 'completed', 2, 1);
  const events = receiver.received.map(({ body }) => body as unknown as LineageEvent);
  expect(failures).toEqual([]);
  expect(events.map(({ eventType }) => eventType)).toEqual(['START', 'FAIL', 'START', 'COMPLETE']);
  expect(new Set(events.map(({ run: { runId } }) => runId)).size).toBe(1);
  expect(events[0]).toMatchObject({
    eventTime: '2026-01-02T03:04:05.000Z',
    run: { runId: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/) },
    job: { namespace: 'team', name: 'tiny' },
    inputs: [
      { namespace: 'softflow', name: 'planted' },
      { namespace: 'file', name: 'test/reference/tiny-llama' },
    ],
    outputs: [],
  });
  // Facets that are not of the specification have our prefix.
  expect(Object.keys(events[1]?.run.facets ?? {})).toEqual(['softflow_run', 'errorMessage']);
  expect(events[1]?.run.facets['errorMessage']).toMatchObject({ message: 'NO_PROGRESS: died' });
  expect(events[3]?.outputs).toMatchObject([
    {
      namespace: 'team',
      name: 'tiny/adapter',
      facets: { version: { datasetVersion: expect.stringMatching(/^[0-9a-f]{64}$/) } },
    },
  ]);
});

test('TensorBoard gets event files whose records are whole', async () => {
  const env = { SOFTFLOW_TENSORBOARD_DIR: join(folder, 'tb') };
  await tell(env, 'running', 0, 0);
  await tell(env, 'running', 1, 0);
  await tell(env, 'completed', 1, 1);
  await tell(env, 'completed', 1, 1);
  expect(failures).toEqual([]);
  const files = (await readdir(join(folder, 'tb', RUN))).sort();
  expect(files).toHaveLength(2);
  const records = readRecords(await readFile(join(folder, 'tb', RUN, files[0] as string)));
  expect(records).toHaveLength(6);
  expect(records[0]?.toString('latin1')).toContain('brain.Event:2');
  expect(records[1]?.toString('latin1')).toContain('sft/train_loss');
  expect(records[1]?.readFloatLE(records[1].length - 4)).toBe(2);
});

test('a sink that refuses, is not there or hangs is told of later, and never in the way of the run', async () => {
  let status = 500;
  receiver = await startReceiver(() => ({ status, body: { why: 'broken' } }));
  const told = sinks({ OPENLINEAGE_URL: receiver.url, MLFLOW_TRACKING_URI: 'http://127.0.0.1:1' });
  await run.record('running', 0, 0);
  await told.report(RUN);
  expect(failures).toEqual(['mlflow: fetch failed', 'openlineage: /api/v1/lineage answers with 500: {"why":"broken"}']);
  await told.report(RUN);
  expect(receiver.received).toHaveLength(1);
  status = 201;
  await run.record('stopped', 1, 0);
  await told.report(RUN);
  expect(receiver.received.map(({ body }) => body['eventType'])).toEqual(['START', 'START', 'ABORT']);
  await sinks({ OPENLINEAGE_URL: receiver.url }).report('unknown-run');
  expect(receiver.received).toHaveLength(3);
});

test('a sink that hangs holds up no record of a run at work', async () => {
  let asked = 0;
  const hanging: Sink = {
    name: 'hanging',
    report: () => {
      asked++;
      return new Promise(() => {});
    },
  };
  const told = new Sinks({ store: run.store, env: {}, failed: () => {} }, [hanging]);
  await run.record('running', 0, 0);
  const began = performance.now();
  for (let i = 0; i < 5; i++) await told.recorded(RUN, { phase: 'running' });
  expect(performance.now() - began).toBeLessThan(1000);
  await until(() => asked === 1);
});

test('checksums are those of CRC-32C', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});

interface LineageEvent {
  eventType: string;
  run: { runId: string; facets: Record<string, unknown> };
  outputs: unknown[];
}

function mlflow({ path }: Received): { status?: number; body?: unknown } {
  if (path.includes('get-by-name')) return { status: 404 };
  if (path.endsWith('experiments/create')) return { body: { experiment_id: '7' } };
  if (path.endsWith('runs/create')) return { body: { run: { info: { run_id: 'm1' } } } };
  return {};
}

const sent = (path: string) =>
  (receiver?.received ?? []).filter((one) => one.path.endsWith(path)).map(({ body }) => body);

function metrics(): string[] {
  const all = sent('runs/log-batch').flatMap((body) => (body['metrics'] ?? []) as Record<string, unknown>[]);
  return all.map(({ key, value, step }) => `${key} ${value} @${step}`);
}

function readRecords(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(masked(crc32c(data)));
    records.push(data);
    at += length + 16;
  }
  return records;
}

const masked = (crc: number) => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
