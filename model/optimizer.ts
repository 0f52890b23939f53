import type { AdapterParameters } from './lora.ts';

export interface OptimizerConfig {
  learningRate: number;
  warmupSteps: number;
  weightDecay: number;
  maxGradNorm: number;
}

/** AdamW's moments by parameter name, and how many steps were taken. */
export interface OptimizerState {
  step: number;
  m: Map<string, Float32Array>;
  v: Map<string, Float32Array>;
}

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;

export function initialOptimizerState(parameters: AdapterParameters): OptimizerState {
  const zeros = () =>
    new Map([...parameters].map(([name, { data }]) => [name, new Float32Array(data.length)] as const));
  return { step: 0, m: zeros(), v: zeros() };
}

/** Linear warm-up, then constant: learningRate * min(1, s / warmupSteps), s = 0, 1, ... */
export function learningRateAt(config: OptimizerConfig, step: number): number {
  return config.warmupSteps === 0 ? config.learningRate : config.learningRate * Math.min(1, step / config.warmupSteps);
}

/** Euclidean norm over all gradients, summed in float64, parameters in the map's order. */
export function gradientNorm(gradients: Map<string, Float32Array>): number {
  let sum = 0;
  for (const gradient of gradients.values()) for (const g of gradient) sum += g * g;
  return Math.sqrt(sum);
}

/**
 * One step of AdamW on float32 parameters, in place; gradients are clipped to `maxGradNorm` first.
 * Source: Loshchilov and Hutter 2019, in the order of operations of PyTorch (whose clipping adds 1e-6 to the norm).
 * @returns the gradient norm before clipping
 */
export function adamWStep(
  parameters: AdapterParameters,
  gradients: Map<string, Float32Array>,
  state: OptimizerState,
  config: OptimizerConfig,
): number {
  const norm = gradientNorm(gradients);
  const clip = Math.min(1, config.maxGradNorm / (norm + 1e-6));
  const rate = learningRateAt(config, state.step);
  state.step++;
  const correction1 = 1 - BETA1 ** state.step;
  const correction2 = Math.sqrt(1 - BETA2 ** state.step);
  for (const [name, { data }] of parameters) {
    const gradient = gradients.get(name) as Float32Array;
    const m = state.m.get(name) as Float32Array;
    const v = state.v.get(name) as Float32Array;
    for (let i = 0; i < data.length; i++) {
      const g = (gradient[i] as number) * clip;
      const mi = (m[i] as number) * BETA1 + g * (1 - BETA1);
      const vi = (v[i] as number) * BETA2 + g * g * (1 - BETA2);
      m[i] = mi;
      v[i] = vi;
      const decayed = (data[i] as number) * (1 - rate * config.weightDecay);
      data[i] = decayed - ((rate / correction1) * mi) / (Math.sqrt(vi) / correction2 + EPSILON);
    }
  }
  return norm;
}
