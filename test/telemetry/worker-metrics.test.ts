import { tmpdir } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { StepInput } from '../../activities/contracts.ts';
import type { JobView } from '../../telemetry/trainer-gauges.ts';
import { WorkerMetrics } from '../../telemetry/worker-metrics.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { dashboardExpressions, describedIn, metricsIn, readRules } from '../support/metric-names.ts';

let metrics: WorkerMetrics;
let job: JobView | undefined;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_000 });
  job = undefined;
  metrics = new WorkerMetrics({ version: '1.2.3', storeRoot: tmpdir(), memoryLimitBytes: 8e9 });
  metrics.watchTrainer({ job: () => job, residentBytes: () => 4e9 });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Lines of softflow's own series. */
const series = async (pattern: RegExp) =>
  (await metrics.registry.metrics()).split('\n').filter((line) => line.startsWith('softflow_') && pattern.test(line));

const training = (): JobView => ({
  input: {
    step: 'trainEpoch',
    params: { stage: 'soft', lambda: 0.25 },
    circumstances: { runId: 'r-1', stallTimeoutSeconds: 600, checkpointEverySeconds: 60 },
  } as StepInput<unknown>,
  progress: { step: 'trainEpoch', position: '', done: 3, total: 12, unit: 'samples', loss: 2.5, tokensPerSecond: 900 },
  silentSeconds: 1.5,
  unsavedSeconds: 30,
});

const status = (phase: RunStatus['phase'], loss: number): RunStatus => ({
  runId: 'r-1',
  phase,
  stage: 'curriculum',
  steps: [
    { id: 'a', stage: 'sft', step: 'trainEpoch', label: '', state: 'run' },
    { id: 'b', stage: 'sft', step: 'evaluate', label: '', state: 'reused' },
    { id: 'c', stage: 'sft', step: 'evaluate', label: '', state: 'pending' },
  ],
  sft: [],
  curriculum: [],
  curriculumAlpha: 1,
  latest: { loss, lambda: 0.5, distance: 9, validation: { hr: { 1: 0.1, 10: 0.4, 50: 0.9 }, ndcg: {}, windows: 8 } },
});

test('what the trainer does is read when it is asked for, and leaves no series behind', async () => {
  const labels = '{run="r-1",step="trainEpoch",stage="soft"}';
  expect(await series(/r-1/)).toEqual([]);
  job = training();
  expect((await series(/r-1/)).sort()).toEqual([
    `softflow_checkpoint_age_seconds${labels} 30`,
    `softflow_checkpoint_interval_seconds${labels} 60`,
    `softflow_job_progress_ratio${labels} 0.25`,
    `softflow_train_lambda_ratio${labels} 0.25`,
    `softflow_train_loss${labels} 2.5`,
    `softflow_train_tokens_per_second${labels} 900`,
    `softflow_trainer_silence_seconds${labels} 1.5`,
    `softflow_trainer_stall_timeout_seconds${labels} 600`,
  ]);
  job = { ...training(), input: { ...training().input, step: 'evaluate', params: {} } };
  expect(await series(/_train_|_checkpoint_.*r-1/)).toEqual([]);
  job = undefined;
  expect(await series(/r-1/)).toEqual([]);
});

test('a run shows its last record, and goes a quarter of an hour after its end', async () => {
  metrics.runRecorded('r-1', status('running', 3));
  metrics.runRecorded('r-1', status('running', 2));
  expect(await series(/^softflow_run_(loss|validation|steps)/)).toEqual([
    'softflow_run_loss{run="r-1"} 2',
    'softflow_run_validation_hit_rate_ratio{run="r-1"} 0.4',
  ]);
  vi.setSystemTime(Date.now() + 3_600_000);
  metrics.runRecorded('r-1', status('completed', 1));
  expect(await series(/^softflow_runs?_(loss|steps|ended|record)/)).toEqual([
    'softflow_runs_ended_total{phase="completed"} 1',
    'softflow_runs_ended_total{phase="failed"} 0',
    'softflow_runs_ended_total{phase="stopped"} 0',
    'softflow_runs_ended_total{phase="cancelled"} 0',
    'softflow_run_steps_total{step="trainEpoch",state="run"} 1',
    'softflow_run_steps_total{step="evaluate",state="reused"} 1',
    `softflow_run_record_timestamp_seconds{run="r-1"} ${Date.now() / 1000}`,
    'softflow_run_loss{run="r-1"} 1',
  ]);
  vi.setSystemTime(Date.now() + 16 * 60_000);
  expect(await series(/r-1/)).toEqual([]);
});

test('however many runs a worker records, their series stay few', async () => {
  for (let i = 0; i < 1000; i++) metrics.runRecorded(`r-${i}`, status('running', 1));
  expect(await series(/^softflow_run_loss/)).toHaveLength(200);
  expect(await series(/r-999/)).not.toEqual([]);
});

test('the record of a run is not kept for the few figures that are shown of it (R16)', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const recorded = new WeakRef(status('completed', 1));
  metrics.runRecorded('r-1', recorded.deref());
  // What a WeakRef was asked for stays for the rest of the turn.
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  expect(recorded.deref()).toBeUndefined();
  expect(await series(/^softflow_run_loss/)).toEqual(['softflow_run_loss{run="r-1"} 1']);
});

test('failures are counted by code, those of the store once more, and counters begin at zero', async () => {
  expect(await series(/^softflow_store_errors_total\{code="STORE_FULL"\} 0$/)).toHaveLength(1);
  metrics.activityFailed('trainEpoch', 'STORE_FULL');
  metrics.activityFailed('trainEpoch', 'LOSS_NOT_FINITE');
  metrics.trainerDied({ signal: 'SIGKILL', stalled: true });
  metrics.trainerDied({ signal: 'SIGKILL', stalled: false });
  expect(await series(/^softflow_(activity_failures|store_errors|trainer_deaths)_total.* [1-9]/)).toEqual([
    'softflow_activity_failures_total{activity="trainEpoch",code="STORE_FULL"} 1',
    'softflow_activity_failures_total{activity="trainEpoch",code="LOSS_NOT_FINITE"} 1',
    'softflow_store_errors_total{code="STORE_FULL"} 1',
    'softflow_trainer_deaths_total{cause="signal"} 1',
    'softflow_trainer_deaths_total{cause="stalled"} 1',
  ]);
});

test('every metric of ours in the dashboard and the rules is there, and its name ends in its unit', async () => {
  const described = describedIn(await metrics.registry.metrics());
  const expressions = [...(await dashboardExpressions()), ...(await readRules()).map(({ expr }) => expr)];
  const named = [...new Set(expressions.flatMap(metricsIn))].filter((name) => !name.startsWith('temporal_'));
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((name) => !described.has(name))).toEqual([]);
  const ours = [...described].filter((name) => name.startsWith('softflow_'));
  const unit = /_(total|seconds|bytes|ratio|info|per_second)$/;
  // Loss, distance and epochs have none.
  expect(ours.filter((name) => !unit.test(name))).toEqual([
    'softflow_run_epochs',
    'softflow_run_loss',
    'softflow_run_distance',
    'softflow_train_loss',
  ]);
});
