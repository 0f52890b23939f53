import { describe, expect, it } from 'vitest';
import { initialAdapter } from '../../model/lora.ts';
import { adamWStep } from '../../model/optimizer.ts';
import { tinyModel } from '../../model/tiny-model.ts';
import {
  decodeTrainingState,
  encodeTrainingState,
  freshTrainingState,
  type TrainingState,
} from '../../model/training-state.ts';
import { uniform } from './reference.ts';
import { LORA } from './tiny-samples.ts';

const { config } = tinyModel();

/** A state after one step, in the middle of the next when `accumulated`. */
function trained(accumulated: boolean): TrainingState {
  const state = freshTrainingState(initialAdapter(config, LORA, 1));
  const gradients = () =>
    new Map([...state.parameters].map(([name, { data }], i) => [name, Float32Array.from(uniform(data.length, i))]));
  const optimizer = { learningRate: 1e-3, warmupSteps: 0, weightDecay: 0, maxGradNorm: 1 };
  adamWStep(state.parameters, gradients(), state.optimizer, optimizer);
  state.figures = { step: 1, microBatch: accumulated ? 2 : 0, stepLoss: 0.1 + 0.2, stepLosses: [1 / 3] };
  if (accumulated) state.accumulated = gradients();
  return state;
}

describe.each([false, true])('a training state (with a gradient sum: %s)', (accumulated) => {
  it('comes back exactly as it was', async () => {
    const state = trained(accumulated);
    const back = await decodeTrainingState(encodeTrainingState(state));
    expect(back).toEqual(state);
    expect([...back.parameters.keys()]).toEqual([...state.parameters.keys()]);
    expect('accumulated' in back).toBe(accumulated);
  });

  it('has the same bytes each time, and again after a round trip', async () => {
    const bytes = encodeTrainingState(trained(accumulated));
    expect(Buffer.compare(bytes, encodeTrainingState(trained(accumulated)))).toBe(0);
    expect(Buffer.compare(bytes, encodeTrainingState(await decodeTrainingState(bytes)))).toBe(0);
  });
});

it('begins at step 0 with zero moments and nothing accumulated', async () => {
  const state = await decodeTrainingState(encodeTrainingState(freshTrainingState(initialAdapter(config, LORA, 1))));
  expect(state.optimizer.step).toBe(0);
  expect([...state.optimizer.m.values(), ...state.optimizer.v.values()].every((m) => m.every((x) => x === 0))).toBe(
    true,
  );
  expect(state.accumulated).toBeUndefined();
  expect(state.figures).toBeNull();
});

it('refuses half a file', async () => {
  const bytes = encodeTrainingState(trained(true));
  await expect(decodeTrainingState(bytes.subarray(0, bytes.length - 4))).rejects.toThrow();
});
