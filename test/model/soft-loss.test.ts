import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BaseModel } from '../../model/base-model.ts';
import { placedDropout } from '../../model/dropout.ts';
import { type AdapterParameters, type LoraConfig, uploadAdapter } from '../../model/lora.ts';
import { packBatch, type Sample } from '../../model/packing.ts';
import { plainKernels } from '../../model/plain-kernels.ts';
import { type LossWeights, type SoftLoss, softLoss } from '../../model/soft-loss.ts';
import { openTensorflow } from './reference.ts';
import { loadTiny, someAdapter, someSamples } from './tiny-samples.ts';

const EVERY: LoraConfig = {
  rank: 2,
  loraAlpha: 4,
  dropout: 0,
  targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
};
const PREFIX = 3;
const WEIGHTS: LossWeights = { target: 0.6 / 8, distilled: 0.4 / 6 };

let model: BaseModel;
beforeAll(async () => {
  await openTensorflow();
  model = await loadTiny(plainKernels, { hiddenSize: 32, heads: 4, kvHeads: 2, ffnSize: 48 });
});
afterAll(() => model.dispose());

function run(
  samples: Sample[],
  weights = WEIGHTS,
  options: { parameters?: AdapterParameters; dropout?: number; recompute?: boolean } = {},
): SoftLoss & { loss: number } {
  const adapter = uploadAdapter(model.config, EVERY, options.parameters ?? someAdapter(model, EVERY));
  const batch = packBatch(samples, PREFIX);
  const dropout = placedDropout(batch, { seed: 1, stage: 'soft', step: 7 }, options.dropout ?? 0);
  const recompute = options.recompute ?? false;
  const result = softLoss(model, adapter, batch, weights, { recompute, ...(dropout && { dropout }) });
  adapter.dispose();
  return { ...result, loss: result.targetSum * weights.target + result.distilledSum * weights.distilled };
}

describe.each([0, 0.2])('the gradient (dropout %s)', (dropout) => {
  it('equals finite differences along every adapter tensor of every projection', () => {
    const samples = someSamples(2, PREFIX);
    const { gradients } = run(samples, WEIGHTS, { dropout });
    expect(gradients.size).toBe(2 * 2 * 7);
    for (const [name, gradient] of gradients) {
      const norm = Math.hypot(...gradient);
      const step = 0.02;
      const moved = (by: number) => {
        const parameters = someAdapter(model, EVERY);
        const { data } = parameters.get(name)!;
        gradient.forEach((g, i) => (data[i] = data[i]! + (by * g) / norm));
        return run(samples, WEIGHTS, { parameters, dropout }).loss;
      };
      const slope = (moved(step) - moved(-step)) / (2 * step);
      expect(Math.abs(slope - norm), name).toBeLessThan(0.02 * norm + 2e-4);
    }
  });
});

it('equals finite differences at single entries', () => {
  const samples = someSamples(2, PREFIX);
  const { gradients } = run(samples);
  for (const name of [...gradients.keys()].filter((name) => /layers\.0.*(q_proj|down_proj)/.test(name))) {
    const gradient = gradients.get(name)!;
    const at = gradient.reduce((best, g, i) => (Math.abs(g) > Math.abs(gradient[best]!) ? i : best), 0);
    const moved = (by: number) => {
      const parameters = someAdapter(model, EVERY);
      const { data } = parameters.get(name)!;
      data[at] = data[at]! + by;
      return run(samples, WEIGHTS, { parameters }).loss;
    };
    const slope = (moved(0.02) - moved(-0.02)) / 0.04;
    expect(Math.abs(slope / gradient[at]! - 1), name).toBeLessThan(0.03);
  }
});

it('of lambda 0 is the loss of y, and of lambda 1 that of y-hat, whichever answers are there', () => {
  const both = someSamples(3, PREFIX);
  const only = (part: 'target' | 'distilled') =>
    both.map(({ windowId, prompt, [part]: ids }) => ({ windowId, prompt, [part]: ids! }));
  for (const [part, weights] of [
    ['target', { target: 0.1, distilled: 0 }],
    ['distilled', { target: 0, distilled: 0.1 }],
  ] as const) {
    const alone = run(only(part), weights);
    const packed = run(both, weights);
    expect(alone.loss).toBeGreaterThan(1);
    expect(packed.loss).toBeCloseTo(alone.loss, 5);
    expectSameGradients(packed, alone);
  }
});

it('is linear in its weights', () => {
  const samples = someSamples(2, PREFIX);
  const whole = run(samples);
  const parts = [
    run(samples, { target: WEIGHTS.target, distilled: 0 }),
    run(samples, { target: 0, distilled: WEIGHTS.distilled }),
  ];
  expect(whole.loss).toBeCloseTo(parts[0]!.loss + parts[1]!.loss, 5);
  expectSameGradients(whole, { gradients: sum(parts[0]!, parts[1]!) });
});

it('summed over micro-batches is that of the whole batch, with dropout too', () => {
  const samples = someSamples(5, PREFIX);
  const options = { dropout: 0.2 };
  const whole = run(samples, WEIGHTS, options);
  const [first, second] = [run(samples.slice(0, 2), WEIGHTS, options), run(samples.slice(2), WEIGHTS, options)];
  expect(first.targetTokens + second.targetTokens).toBe(whole.targetTokens);
  expect(first.loss + second.loss).toBeCloseTo(whole.loss, 5);
  // Behind the prefix, a sample's tokens do not depend on the others of its micro-batch.
  expectSameGradients(whole, { gradients: sum(first, second) });
});

it('of a sample equals the unpacked one: prefix 0, one answer at a time', () => {
  const [sample] = someSamples(1, PREFIX) as [Sample];
  const packed = run([sample]);
  const { windowId, prompt, target, distilled } = sample;
  const adapter = uploadAdapter(model.config, EVERY, someAdapter(model, EVERY));
  const alone = [{ target: target! }, { distilled: distilled! }].map((answer) =>
    softLoss(model, adapter, packBatch([{ windowId, prompt, ...answer }], 0), WEIGHTS),
  );
  adapter.dispose();
  expect(packed.targetSum).toBeCloseTo(alone[0]!.targetSum, 4);
  expect(packed.distilledSum).toBeCloseTo(alone[1]!.distilledSum, 4);
  expectSameGradients(packed, { gradients: sum(alone[0]!, alone[1]!) });
});

it('is the same, bit for bit, with layers kept and computed again, under dropout', () => {
  const samples = someSamples(3, PREFIX);
  const kept = run(samples, WEIGHTS, { dropout: 0.2 });
  expect(run(samples, WEIGHTS, { dropout: 0.2, recompute: true })).toEqual(kept);
  expect(run(samples, WEIGHTS).gradients).not.toEqual(kept.gradients);
});

function sum(a: Pick<SoftLoss, 'gradients'>, b: Pick<SoftLoss, 'gradients'>): Map<string, Float32Array> {
  return new Map(
    [...a.gradients].map(([name, values]) => [name, values.map((x, i) => x + b.gradients.get(name)![i]!)]),
  );
}

function expectSameGradients(actual: Pick<SoftLoss, 'gradients'>, expected: Pick<SoftLoss, 'gradients'>): void {
  for (const [name, values] of expected.gradients) {
    const difference = Math.hypot(...values.map((x, i) => x - actual.gradients.get(name)![i]!));
    expect(difference / Math.hypot(...values), name).toBeLessThan(1e-4);
  }
}
