import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StepInput, StepResult, TrainEpochParams, TrainEpochResult } from '../../../activities/contracts.ts';
import { JOBS } from '../../../activities/jobs/index.ts';
import { DrainedError } from '../../../activities/trainer-protocol.ts';
import { listCheckpoints } from '../../../artifacts/checkpoints.ts';
import type { Store } from '../../../artifacts/store.ts';
import { decodeDistilled, encodeDistilled } from '../../../datasets/tables.ts';
import { decodeTrainingState } from '../../../model/training-state.ts';
import { openTensorflow } from '../../model/reference.ts';
import { contextOf, runStep, stepInput, Workshop } from './fixtures.ts';

/** Ten windows in batches of 4 and micro-batches of 2: steps of 2, 2 and 1 micro-batches. */
const MICRO_BATCHES = 5;

let workshop: Workshop;
let params: TrainEpochParams;
/** The state after the first epoch. */
let firstState: Uint8Array;
beforeAll(async () => {
  await openTensorflow();
  workshop = await Workshop.open();
  params = workshop.training;
  const store = await workshop.newStore();
  const { outputs } = await train(await inputOf(store), store);
  firstState = await store.getBytes(outputs['state']!);
});
afterAll(() => workshop.remove());

type Result = StepResult<TrainEpochResult>;
const train = (input: StepInput<TrainEpochParams>, store: Store) =>
  runStep<TrainEpochResult>(JOBS, input, contextOf(store));

async function inputOf(
  store: Store,
  change: Partial<TrainEpochParams> = {},
  circumstances: Partial<StepInput<unknown>['circumstances']> = {},
) {
  const { items, windows, distilled } = await workshop.putTables(store);
  const lambda = change.lambda ?? params.lambda;
  const inputs = { items, windows, ...(lambda > 0 && { distilled }) };
  return stepInput('trainEpoch', inputs, { ...params, ...change }, circumstances);
}

/** The second epoch, which goes on from the state of the first: moments, warm-up and all. */
async function secondEpoch(store: Store, circumstances = {}) {
  const { inputs } = await inputOf(store);
  const state = await store.putBytes(firstState);
  return stepInput('trainEpoch', { ...inputs, state }, { ...params, epoch: 2 }, circumstances);
}

describe('an epoch', () => {
  let whole: Result;
  let wholeStore: Store;
  beforeAll(async () => {
    wholeStore = await workshop.newStore();
    whole = await train(await secondEpoch(wholeStore), wholeStore);
  });

  it('gives a state and an adapter, and its figures', async () => {
    expect(Object.keys(whole.outputs)).toEqual(['state', 'adapter']);
    const { result } = whole;
    expect(result).toMatchObject({ epoch: 2, globalStep: 6 });
    expect(result.stepLosses.length).toBe(3);
    expect(result.trainLoss).toBeCloseTo(0.5 * result.lossTarget! + 0.5 * result.lossDistilled!, 10);
    expect(result.targetTokens).toBeGreaterThan(30);
  });

  it.each([
    [1, 'step 1/3, micro-batch 1/2'],
    [2, 'step 1/3, micro-batch 2/2'],
    [3, 'step 2/3, micro-batch 1/2'],
    [4, 'step 2/3, micro-batch 2/2'],
    [5, 'step 3/3, micro-batch 1/1'],
  ])('stopped at border %i and resumed at %s ends with the same bytes', async (drainAt, place) => {
    const store = await workshop.newStore();
    const input = await secondEpoch(store);
    await expect(JOBS.trainEpoch!(input, contextOf(store, { drainAt }))).rejects.toThrow(DrainedError);
    const context = contextOf(store);
    const resumed = await runStep<TrainEpochResult>(JOBS, input, context);
    expectSame(resumed, whole);
    expect(context.borders).toBe(MICRO_BATCHES - drainAt + 1);
    const notes = (await store.readTelemetry(input.key)) as { resumed?: string }[];
    expect(notes.flatMap((note) => note.resumed?.replace(/ \d+ s old/, '') ?? [])).toEqual([
      `resumed at round 2, ${place} (checkpoint, attempt 2, lr ${params.optimizer.learningRate}, optimiser, gradient sum and data position restored)`,
    ]);
    expect(resumed.telemetry.resumes).toBe(1);
  });

  it('stopped after every single micro-batch ends with the same bytes', async () => {
    const store = await workshop.newStore();
    const input = await secondEpoch(store);
    for (let i = 0; i < MICRO_BATCHES - 1; i++)
      await expect(JOBS.trainEpoch!(input, contextOf(store, { drainAt: 2 }))).rejects.toThrow(DrainedError);
    const resumed = await train(input, store);
    expectSame(resumed, whole);
    expect(resumed.telemetry.resumes).toBe(4);
  });

  it('that saves a checkpoint at every micro-batch ends with the same bytes', async () => {
    const store = await workshop.newStore();
    const input = await secondEpoch(store, { checkpointEverySeconds: 0 });
    expectSame(await train(input, store), whole);
    const positions = (await listCheckpoints(store, input.key)).map(({ position }) => position);
    expect(positions).toEqual([
      [2, 2, 0],
      [2, 1, 1],
    ]);
  });

  it('starts from the adapter of an earlier release when it is given one', async () => {
    const store = await workshop.newStore();
    const warmStart = whole.outputs['adapter']!;
    await store.putBytes(await wholeStore.getBytes(warmStart));
    const { inputs } = await inputOf(store);
    const still = { ...params, optimizer: { ...params.optimizer, learningRate: 0 } };
    const trained = await train(stepInput('trainEpoch', { ...inputs, warmStart }, still), store);
    expect(trained.outputs['adapter']?.sha256).toBe(warmStart.sha256);
    expect(trained.result.globalStep).toBe(3);
  });

  it('refuses to start from an adapter of another shape', async () => {
    const store = await workshop.newStore();
    const warmStart = whole.outputs['adapter']!;
    await store.putBytes(await wholeStore.getBytes(warmStart));
    const { inputs } = await inputOf(store);
    const wider = { ...params, lora: { ...params.lora, rank: params.lora.rank * 2 } };
    await expect(train(stepInput('trainEpoch', { ...inputs, warmStart }, wider), store)).rejects.toMatchObject({
      code: 'WARM_START_MISMATCH',
      retryable: false,
    });
  });

  it('half done under another fingerprint is refused, unless allowed', async () => {
    const store = await workshop.newStore();
    const input = await secondEpoch(store);
    await expect(JOBS.trainEpoch!(input, contextOf(store, { drainAt: 2 }))).rejects.toThrow(DrainedError);
    const elsewhere = () => contextOf(store, { fingerprint: { backend: 'other', threads: '2' } });
    await expect(JOBS.trainEpoch!(input, elsewhere())).rejects.toMatchObject({ code: 'FINGERPRINT_CHANGED' });
    const allowed = { ...input, circumstances: { ...input.circumstances, allowDifferentBackend: true } };
    expectSame(await runStep<TrainEpochResult>(JOBS, allowed, elsewhere()), whole);
  });
});

it('learns: the loss of the third epoch is lower than that of the first', async () => {
  const store = await workshop.newStore();
  const { inputs } = await inputOf(store);
  const losses: number[] = [];
  let state = {};
  for (const epoch of [1, 2, 3]) {
    const done = await train(stepInput('trainEpoch', { ...inputs, ...state }, { ...params, epoch }), store);
    losses.push(done.result.trainLoss);
    state = { state: done.outputs['state']! };
  }
  expect(losses[2]).toBeLessThan(losses[0]! - 0.05);
});

it('of lambda 0 needs no distilled answers, and of lambda 1 runs no real ones', async () => {
  const store = await workshop.newStore();
  const sft = await train(await inputOf(store, { stage: 'sft', lambda: 0 }), store);
  expect(sft.result).toMatchObject({ distilledTokens: 0, lossDistilled: null });
  expect(sft.result.trainLoss).toBe(sft.result.lossTarget);
  const distilled = await train(await inputOf(store, { lambda: 1 }), store);
  expect(distilled.result).toMatchObject({ targetTokens: 0, lossTarget: null });
  expect(distilled.result.trainLoss).toBe(distilled.result.lossDistilled);
});

it('takes nearly the same steps however a batch is cut', async () => {
  const store = await workshop.newStore();
  const lora = { ...params.lora, dropout: 0 };
  const [small, large] = [
    await train(await inputOf(store, { lora, microBatchSize: 1 }), store),
    await train(await inputOf(store, { lora, microBatchSize: 4 }), store),
  ];
  small.result.stepLosses.forEach((loss, i) => expect(loss).toBeCloseTo(large.result.stepLosses[i]!, 4));
});

it('writes no figures of progress into its state', async () => {
  const store = await workshop.newStore();
  const { outputs } = await train(await inputOf(store), store);
  const state = await decodeTrainingState(await store.getBytes(outputs['state']!));
  expect(state.figures).toBeNull();
  expect(state.accumulated).toBeUndefined();
  expect(state.optimizer.step).toBe(3);
});

it('names the input that it lacks, and the window whose distilled row is another', async () => {
  const store = await workshop.newStore();
  const input = await inputOf(store);
  const { distilled, ...without } = input.inputs;
  await expect(train({ ...input, inputs: without }, store)).rejects.toMatchObject({ code: 'STEP_INPUT_MISSING' });
  const rows = decodeDistilled(await store.getBytes(distilled!));
  const turned = await store.putBytes(encodeDistilled(rows.reverse()));
  await expect(train({ ...input, inputs: { ...without, distilled: turned } }, store)).rejects.toMatchObject({
    code: 'TABLE_INVALID',
    message: 'Expected the distilled row of window u0:3, got u9:3',
  });
});

it('stops when the loss is no longer a number, and says where', async () => {
  const store = await workshop.newStore();
  const optimizer = { ...params.optimizer, learningRate: 1e38, warmupSteps: 0 };
  await expect(train(await inputOf(store, { optimizer }), store)).rejects.toMatchObject({
    code: 'LOSS_NOT_FINITE',
    retryable: false,
    message: expect.stringContaining('round 1, step 2/3, micro-batch 1/2'),
  });
});

function expectSame(actual: Result, expected: Result): void {
  expect(actual.outputs['state']!.sha256).toBe(expected.outputs['state']!.sha256);
  expect(actual.outputs['adapter']!.sha256).toBe(expected.outputs['adapter']!.sha256);
  expect(actual.result).toEqual(expected.result);
}
