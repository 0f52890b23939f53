import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ActivityCancellationDetails, type ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Progress, StepInput } from '../../activities/contracts.ts';
import { relay } from '../../activities/relay.ts';
import { finishStep, keyOfStep } from '../../activities/step-result.ts';
import type { JobOutcome, Trainer, TrainerDeath } from '../../activities/trainer.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { aRef, evaluateParams } from './step-inputs.ts';

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-relay-'));
  store = await openStore(folder, { create: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const inputs = { windows: aRef('1'), items: aRef('2'), titles: aRef('3'), embeddings: aRef('4') };
const input: StepInput<unknown> = {
  step: 'evaluate',
  key: keyOfStep('evaluate', inputs, evaluateParams),
  inputs,
  params: evaluateParams,
  circumstances: { runId: 'run-1', checkpointEverySeconds: 60, allowDifferentBackend: false, stallTimeoutSeconds: 600 },
};
const progress: Progress = { step: 'evaluate', position: 'tile 2/5', done: 1, total: 5, unit: 'tile' };
const death: TrainerDeath = { signal: 'SIGKILL', exitCode: null, stalled: false, rssBytes: 3e9, stderr: '' };

/** A trainer whose one job ends as the test says. */
class FakeTrainer implements Trainer {
  readonly submitted: StepInput<unknown>[] = [];
  readonly asked: string[] = [];
  silentMs = 0;
  end: (outcome: JobOutcome) => void = () => {};

  submit(submitted: StepInput<unknown>) {
    this.submitted.push(submitted);
    return {
      outcome: new Promise<JobOutcome>((resolve) => {
        this.end = resolve;
      }),
      progress: () => progress,
      silentMs: () => this.silentMs,
      drain: () => {
        this.asked.push('drain');
        this.end({ kind: 'drained', position: 'tile 2/5' });
      },
      kill: () => {
        this.asked.push('kill');
        this.end({ kind: 'died', death: { ...death, stalled: true } });
      },
    };
  }
}

const modelFiles = async () => ({ folder: 'model' });

/** Runs the relay as an activity with a heartbeat every 20 ms. */
function start(
  trainer: FakeTrainer,
  change: Partial<StepInput<unknown>> = {},
  workflowRunId = 'execution-1',
  attempt = 1,
) {
  const environment = new MockActivityEnvironment(
    { attempt, heartbeatTimeoutMs: 80, workflowExecution: { workflowId: 'run-1', runId: workflowRunId } },
    { logger: new DefaultLogger('ERROR') },
  );
  const beats: unknown[] = [];
  environment.on('heartbeat', (details) => beats.push(details));
  const deps = { store, trainer, modelFiles, worker: '7@host' };
  const result = environment.run(() => relay(deps, { ...input, ...change }, (job) => job()));
  result.catch(() => {});
  const submitted = async () => {
    while (trainer.submitted.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  };
  return { environment, beats, result, submitted };
}
const done = (outcome: unknown = null): JobOutcome => ({ kind: 'done', result: outcome as never });

test('progress of the trainer becomes the heartbeat', async () => {
  const trainer = new FakeTrainer();
  const { beats, result, submitted } = start(trainer);
  await submitted();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(beats.length).toBeGreaterThanOrEqual(3);
  expect(beats[0]).toEqual(progress);
  trainer.end(done());
  expect(await result).toBeNull();
});

test('a finished step is returned without asking the trainer', async () => {
  const trainer = new FakeTrainer();
  const predictions = await store.putBytes(Buffer.from('predictions'));
  const made = await finishStep(store, input, {
    outputs: { predictions },
    result: { hr: {} },
    fingerprint: { backend: 'test' },
    telemetry: { seconds: 1, resumes: 0 },
  });
  expect(made.reused).toBe(false);
  expect(await start(trainer).result).toMatchObject({ key: input.key, reused: true, outputs: { predictions } });
  expect(trainer.submitted).toEqual([]);
});

test('telemetry goes into the store under the run, the histories of an epoch stay in the manifest', async () => {
  const trainer = new FakeTrainer();
  const { result, submitted } = start(trainer);
  await submitted();
  const telemetry = { seconds: 2, resumes: 1 };
  trainer.end(done({ key: input.key, outputs: {}, result: { trainLoss: 1, stepLosses: [2, 1] }, telemetry }));
  expect(await result).toMatchObject({ result: { trainLoss: 1 } });
  expect(((await result) as { result: unknown }).result).not.toHaveProperty('stepLosses');
  const inputs = Object.fromEntries(Object.entries(input.inputs).map(([role, { sha256 }]) => [role, sha256]));
  const attempt = { workflowId: 'run-1', runId: 'execution-1', activityId: 'test', number: 1 };
  const begun = { runId: 'run-1', seconds: 0, resumes: 0, inputs, worker: '7@host', attempt };
  expect(await store.readTelemetry(input.key)).toEqual([begun, { runId: 'run-1', ...telemetry }]);
});

describe('the end of a job becomes the end of the activity:', () => {
  test('a cancelled run drains the trainer', async () => {
    const trainer = new FakeTrainer();
    const { environment, result, submitted } = start(trainer);
    await submitted();
    environment.cancel('CANCELLED', new ActivityCancellationDetails({ cancelRequested: true }));
    await expect(result).rejects.toBeInstanceOf(CancelledFailure);
    expect(trainer.asked).toEqual(['drain']);
  });

  test('a worker that shuts down drains the trainer and leaves the step to another', async () => {
    const trainer = new FakeTrainer();
    const { environment, result, submitted } = start(trainer);
    await submitted();
    environment.cancel('WORKER_SHUTDOWN', new ActivityCancellationDetails({ workerShutdown: true }));
    await expect(result).rejects.toMatchObject({ type: 'WORKER_SHUTDOWN', nonRetryable: false });
    expect(trainer.asked).toEqual(['drain']);
  });

  test('a fault keeps its code, its details and whether to try again', async () => {
    for (const retryable of [true, false]) {
      const trainer = new FakeTrainer();
      const { result, submitted } = start(trainer);
      await submitted();
      trainer.end({
        kind: 'failed',
        fault: { code: 'LOSS_NOT_FINITE', message: 'NaN', retryable, details: { step: 3 } },
      });
      await expect(result).rejects.toMatchObject({
        type: 'LOSS_NOT_FINITE',
        nonRetryable: !retryable,
        details: [{ step: 3 }],
      });
    }
  });

  test('a trainer without a sign of life is killed', async () => {
    const trainer = new FakeTrainer();
    const { result, submitted } = start(trainer);
    await submitted();
    trainer.silentMs = 600_001;
    await expect(result).rejects.toMatchObject({ type: 'TRAINER_DIED' });
    expect(trainer.asked).toEqual(['kill']);
  });

  test('an input that is not valid never reaches the trainer', async () => {
    const trainer = new FakeTrainer();
    const { result } = start(trainer, { inputs: {} });
    await expect(result).rejects.toMatchObject({ type: 'INPUT_INVALID', nonRetryable: true });
    expect(trainer.submitted).toEqual([]);
  });
});

test('a step of another contract version is left to workers of its build, and given back to the run in the end', async () => {
  const trainer = new FakeTrainer();
  for (const [attempt, nonRetryable] of [
    [1, false],
    [12, true],
  ] as const) {
    const { result } = start(trainer, { key: 'f'.repeat(64) }, 'execution-1', attempt);
    await expect(result).rejects.toMatchObject({ type: 'CONTRACT_DIFFERS', nonRetryable });
  }
  expect(trainer.submitted).toEqual([]);
  expect(await store.readTelemetry('f'.repeat(64))).toEqual([]);
});

describe('deaths of the trainer', () => {
  const die = async (execution: string): Promise<ApplicationFailure> => {
    const trainer = new FakeTrainer();
    const { result, submitted } = start(trainer, {}, execution);
    await submitted();
    trainer.end({ kind: 'died', death });
    return (await result.catch((error: unknown) => error)) as ApplicationFailure;
  };

  test('are tried again twice; the third at one position ends the step', async () => {
    expect(await die('a')).toMatchObject({ type: 'TRAINER_DIED', nonRetryable: false });
    expect(await die('a')).toMatchObject({ type: 'TRAINER_DIED', nonRetryable: false });
    const third = await die('a');
    expect(third).toMatchObject({ type: 'NO_PROGRESS', nonRetryable: true });
    expect(third.message).toContain('tile 2/5');
    expect(third.message).toContain('SIGKILL, 3.0 GB');
    expect(third.details?.[0]).toMatchObject({ rssBytes: 3e9, signal: 'SIGKILL', deaths: 3 });
  });

  test('count anew when a person has resumed the run', async () => {
    for (let i = 0; i < 3; i++) await die('a');
    expect(await die('b')).toMatchObject({ type: 'TRAINER_DIED', nonRetryable: false });
  });
});
