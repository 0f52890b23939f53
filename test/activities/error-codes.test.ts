import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ActivityFailure,
  ApplicationFailure,
  ChildWorkflowFailure,
  TerminatedFailure,
  TimeoutFailure,
  TimeoutType,
} from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { PrepareDataParams } from '../../activities/contracts.ts';
import { accepted } from '../../activities/jobs/merge-adapter.ts';
import { prepareData } from '../../activities/prepare-data.ts';
import { finishStep } from '../../activities/step-result.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { releasedDigests } from '../../cli/disturbed-run.ts';
import { configuredTarget } from '../../client/connect.ts';
import { readReleasedRun } from '../../client/run-results.ts';
import { Runs } from '../../client/runs.ts';
import { releasedAdapter } from '../../client/tool-inputs.ts';
import { encodeStrings } from '../../datasets/columns.ts';
import { Duck } from '../../datasets/duck.ts';
import { SCHEMAS } from '../../datasets/schemas.ts';
import { buildRunSummary } from '../../report/run-summary.ts';
import { machinePlaces } from '../../workers/places.ts';
import { TrainerClient } from '../../workers/trainer-client.ts';
import { trainingFailure } from '../../workflows/retrain-lifecycle.ts';
import { toFailure } from '../../workflows/run-lifecycle.ts';
import { output } from '../../workflows/steps.ts';
import { PARAMS } from '../datasets/fixtures.ts';
import { smallRun } from '../report/fixtures.ts';
import { STUB_JOBS } from '../support/soft-run.ts';
import { aRef } from './step-inputs.ts';

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-codes-'));
  store = await openStore(join(folder, 'store'), { create: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const KEY = 'a'.repeat(64);
const telemetry = { seconds: 0, resumes: 0 };
const circumstances = {
  runId: 'run',
  checkpointEverySeconds: 60,
  allowDifferentBackend: false,
  stallTimeoutSeconds: 60,
};

test('RUN_AMBIGUOUS: the beginning of an id fits several runs', async () => {
  for (const runId of ['demo-1a', 'demo-1b']) await store.putRunRecord(runId, 'start', { createdAt: '2026', tags: [] });
  await expect(new Runs({ store }).find('demo-1')).rejects.toMatchObject({
    code: 'RUN_AMBIGUOUS',
    message: expect.stringMatching(/demo-1a, demo-1b|demo-1b, demo-1a/),
  });
});

test('RUN_FAILED: a run that released nothing is asked for its digests', async () => {
  const status = { runId: 'demo-1', phase: 'stopped', steps: [] } as unknown as Parameters<typeof releasedDigests>[1];
  await expect(releasedDigests(store, status)).rejects.toMatchObject({
    code: 'RUN_FAILED',
    message: expect.stringContaining('demo-1 is stopped'),
  });
});

test("TEMPORAL_CONFIG_INVALID: Temporal's own configuration cannot be read, and nothing of it is shown", async () => {
  const path = join(folder, 'temporal.toml');
  await writeFile(path, '[profile.default]\napi_key = "canary" oops\n');
  try {
    configuredTarget({ TEMPORAL_CONFIG_FILE: path });
    expect.fail('it was read');
  } catch (error) {
    expect(error).toMatchObject({ code: 'TEMPORAL_CONFIG_INVALID', retryable: false });
    expect((error as Error).message).not.toContain('canary');
  }
});

test('DATA_CHANGED: the source is not what the run began with', async () => {
  const source = { planted: { series: 4, minParts: 3, maxParts: 3, users: 20, seriesPerUser: 3, skip: 0, seed: 1 } };
  const { seed, ...options } = PARAMS;
  const params = { data: { source, ...options }, digest: 'f'.repeat(64), seed } as unknown as PrepareDataParams;
  const step = { step: 'prepareData' as const, key: KEY, inputs: {}, params, circumstances };
  const body = prepareData({ ...machinePlaces });
  await expect(
    new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') }).run(() => body(store, step, () => {})),
  ).rejects.toMatchObject({
    code: 'DATA_CHANGED',
    message: expect.stringMatching(/expected digest f{64}, found [0-9a-f]{64}/),
  });
});

test('MODEL_TOKEN_MISSING: the variable that tokenEnv names is not set', async () => {
  await expect(
    machinePlaces.modelFiles({ hub: 'a/b', revision: 'main', tokenEnv: 'NO_SUCH_TOKEN' }),
  ).rejects.toMatchObject({
    code: 'MODEL_TOKEN_MISSING',
    message: expect.stringContaining('NO_SUCH_TOKEN'),
  });
});

test('STEP_UNKNOWN: a trainer is handed a step that it has no job for', async () => {
  const trainer = new TrainerClient({ storeRoot: store.root, jobsModule: STUB_JOBS });
  try {
    const job = trainer.submit(
      { step: 'renderReport', key: KEY, inputs: {}, params: {}, circumstances },
      { folder: '' },
    );
    expect(await job.outcome).toMatchObject({ kind: 'failed', fault: { code: 'STEP_UNKNOWN', retryable: false } });
  } finally {
    trainer.close();
  }
});

test('STEP_FAILED: a step ended without an error of its own', () => {
  const timeout = new TimeoutFailure('too slow', undefined, TimeoutType.START_TO_CLOSE);
  const failure = new ActivityFailure('failed', 'evaluate', 'id', 'TIMEOUT', undefined, timeout);
  expect(toFailure(failure)).toMatchObject({ type: 'STEP_FAILED', nonRetryable: true, message: 'too slow' });
});

test('TRAINING_LOST: the run that a retrain trains was ended from outside', () => {
  const terminated = new TerminatedFailure('a person did it');
  const execution = { workflowId: 'night-1', runId: '1' };
  const lost = new ChildWorkflowFailure('default', execution, 'softWorkflow', 'NON_RETRYABLE_FAILURE', terminated);
  expect(trainingFailure(lost, { runId: 'night-1' })).toMatchObject({ type: 'TRAINING_LOST', nonRetryable: true });
  expect(trainingFailure(new Error('another'), { runId: 'night-1' })).toBeUndefined();
});

test('STEP_OUTPUT_MISSING: a step was made by another version', () => {
  const result = { key: KEY, outputs: { items: aRef('1') }, result: {}, fingerprint: '', reused: false, telemetry };
  expect(() => output(result, 'windows')).toThrow(ApplicationFailure);
  expect(() => output(result, 'windows')).toThrow(/Expected an output `windows` of step a+, found: items/);
  const run = { runId: 'run', files: {} } as Parameters<typeof releasedAdapter>[0];
  expect(() => releasedAdapter(run)).toThrow(expect.objectContaining({ code: 'STEP_OUTPUT_MISSING' }));
});

test('STEP_MISSING: an artifact of a finished run is no longer in the store', async () => {
  const release = { key: KEY, step: 'release', id: 'release', state: 'run' };
  await store.putRunRecord('run', 'status', { runId: 'run', steps: [release] });
  const params = { config: {}, steps: [{ id: 'prepare', key: 'b'.repeat(64) }] };
  const made = { outputs: {}, result: {}, fingerprint: {}, telemetry };
  await finishStep(store, { step: 'release', key: KEY, inputs: {}, params }, made);
  const run = await readReleasedRun(store, 'run');
  await expect(run.output('prepare', 'items')).rejects.toMatchObject({ code: 'STEP_MISSING' });
});

test('REPORT_INPUT: predictions are not those of the test windows', () => {
  const run = smallRun();
  run.predictions.soft = run.predictions.soft?.slice(1) as typeof run.predictions.soft;
  expect(() => buildRunSummary(run)).toThrow(
    expect.objectContaining({
      code: 'REPORT_INPUT',
      message: expect.stringMatching(/soft.*got window user1:10 instead of user0:10 in row 0/),
    }),
  );
});

test('EXPORT_DIFFERS: a merged model does not answer as base and adapter do', () => {
  const verification = { prompts: 1, positions: 9, maxLogit: 10, maxLogitDifference: 0 };
  expect(accepted(verification)).toBe(verification);
  for (const maxLogitDifference of [1, Number.NaN])
    expect(() => accepted({ ...verification, maxLogitDifference })).toThrow(
      expect.objectContaining({ code: 'EXPORT_DIFFERS', message: expect.stringContaining('(10)') }),
    );
});

test('TABLE_TOO_LARGE: a column holds more text than its offsets can point to', () => {
  const [field] = SCHEMAS.items.fields;
  if (!field) throw new Error('no field');
  expect(encodeStrings(field, ['ab', 'cd'], 8).bytes).toHaveLength(4);
  expect(() => encodeStrings(field, ['ab', 'cd'], 7)).toThrow(expect.objectContaining({ code: 'TABLE_TOO_LARGE' }));
});

test('OUT_OF_MEMORY: DuckDB needs more than it may take', async () => {
  const duck = await Duck.open({ tmpDir: folder, memoryLimit: '4MB', threads: 1 });
  try {
    await expect(duck.rows('SELECT list(i) FROM range(5000000) t(i)')).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
  } finally {
    await duck.close();
  }
});
