import { expect, it } from 'vitest';
import { adamWStep, gradientNorm, initialOptimizerState, learningRateAt } from '../../model/optimizer.ts';

const CONFIG = { learningRate: 0.1, warmupSteps: 0, weightDecay: 0, maxGradNorm: 100 };
const parametersOf = (...values: number[]) =>
  new Map([['p', { shape: [1, values.length] as [number, number], data: Float32Array.from(values) }]]);
const gradientsOf = (...values: number[]) => new Map([['p', Float32Array.from(values)]]);

it('moves each weight by the learning rate in its first step, whatever the size of its gradient', () => {
  const parameters = parametersOf(1, 1, 1);
  const state = initialOptimizerState(parameters);
  adamWStep(parameters, gradientsOf(4, -0.001, 0), state, CONFIG);
  // m / (1 - beta1) = g and sqrt(v / (1 - beta2)) = |g|, so the step is the rate times the sign of g.
  const [a, b, c] = parameters.get('p')!.data;
  expect(a).toBeCloseTo(0.9, 6);
  expect(b).toBeCloseTo(1.1, 5);
  expect(c).toBe(1);
  expect(state.step).toBe(1);
  expect(state.m.get('p')![0]).toBeCloseTo(0.4, 6);
  expect(state.v.get('p')![0]).toBeCloseTo(0.016, 6);
});

it('takes the second step from both gradients', () => {
  const parameters = parametersOf(1);
  const state = initialOptimizerState(parameters);
  adamWStep(parameters, gradientsOf(1), state, CONFIG);
  adamWStep(parameters, gradientsOf(-2), state, CONFIG);
  // m = 0.9 * 0.1 - 0.1 * 2 = -0.11 over 1 - 0.81; v = 0.999 * 0.001 + 0.001 * 4 = 0.004999 over 1 - 0.998001.
  const step = (0.1 * (-0.11 / 0.19)) / Math.sqrt(0.004999 / 0.001999);
  expect(parameters.get('p')!.data[0]).toBeCloseTo(0.9 - step, 5);
});

it('clips the gradient of all parameters together to the norm, and returns the norm before', () => {
  const parameters = new Map([
    ...parametersOf(0),
    ['q', { shape: [1, 1] as [number, number], data: Float32Array.of(0) }],
  ]);
  const gradients = new Map([...gradientsOf(3), ['q', Float32Array.of(4)]]);
  const state = initialOptimizerState(parameters);
  expect(gradientNorm(gradients)).toBe(5);
  expect(adamWStep(parameters, gradients, state, { ...CONFIG, maxGradNorm: 1 })).toBe(5);
  expect(state.m.get('p')![0]).toBeCloseTo(0.1 * 0.6, 6);
  expect(state.m.get('q')![0]).toBeCloseTo(0.1 * 0.8, 6);
});

it('leaves a gradient within the norm as it is', () => {
  const parameters = parametersOf(0);
  const state = initialOptimizerState(parameters);
  adamWStep(parameters, gradientsOf(0.5), state, { ...CONFIG, maxGradNorm: 1 });
  expect(state.m.get('p')![0]).toBe(Math.fround(0.5 * (1 - 0.9)));
});

it('warms up from 0 and then holds the rate', () => {
  const config = { ...CONFIG, warmupSteps: 20 };
  const rates = [0, 1, 10, 19, 20, 500].map((step) => learningRateAt(config, step));
  expect(rates).toEqual([0, 0.1 * 0.05, 0.05, 0.1 * 0.95, 0.1, 0.1]);
  expect(learningRateAt(CONFIG, 0)).toBe(0.1);
  const parameters = parametersOf(1);
  const state = initialOptimizerState(parameters);
  adamWStep(parameters, gradientsOf(1), state, config);
  expect(parameters.get('p')!.data[0]).toBe(1);
  expect(state.m.get('p')![0]).toBeGreaterThan(0);
});

it('decays weights apart from the gradient', () => {
  const parameters = parametersOf(2);
  adamWStep(parameters, gradientsOf(0), initialOptimizerState(parameters), { ...CONFIG, weightDecay: 0.5 });
  expect(parameters.get('p')!.data[0]).toBeCloseTo(2 * (1 - 0.1 * 0.5), 6);
});
