import { afterAll, beforeAll, expect, it } from 'vitest';
import type { BaseModel } from '../../model/base-model.ts';
import { embedTile } from '../../model/embedding.ts';
import { generateTile } from '../../model/generation.ts';
import { kernelsFor } from '../../model/kernel-sets.ts';
import { uploadAdapter } from '../../model/lora.ts';
import { packBatch } from '../../model/packing.ts';
import { softLoss } from '../../model/soft-loss.ts';
import { tf } from '../../model/tf.ts';
import { openTensorflow } from './reference.ts';
import { LORA, loadTiny, someAdapter, someSamples } from './tiny-samples.ts';

let half: BaseModel;
let full: BaseModel;
beforeAll(async () => {
  await openTensorflow();
  half = await loadTiny(kernelsFor('bf16'));
  full = await loadTiny(kernelsFor('f32'));
});
afterAll(() => {
  half.dispose();
  full.dispose();
});

/** bfloat16 keeps 8 bits of a number: 1 + 2^-7 is one, 1 + 2^-9 is not, and ties go to even. */
const [KEPT, LOST, TIE] = [1 + 2 ** -7, 1 + 2 ** -9, 1 + 3 * 2 ** -8];

it('holds frozen matrices in bfloat16', () => {
  const { kernels } = half;
  const before = tf.memory().numTensors;
  const weight = kernels.freeze(Float32Array.of(KEPT, LOST, TIE, -3), 2, 2);
  const rows = kernels.rows(weight, Int32Array.of(1, 0));
  expect([...rows.dataSync()]).toEqual([1 + 2 ** -6, -3, KEPT, 1]);
  const x = tf.tensor2d([[1, 0]]);
  const [y] = kernels.linear(x, [weight]);
  const dx = kernels.linearGrad([x], [weight]);
  expect([...y!.dataSync()]).toEqual([KEPT, 1 + 2 ** -6]);
  expect([...dx.dataSync()]).toEqual([KEPT, 1]);
  tf.dispose([rows, x, y!, dx]);
  weight.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

it('gives a loss within 1 % of float32, gradients of the same direction, and the same bytes each time', () => {
  const run = (model: BaseModel) => {
    const adapter = uploadAdapter(model.config, LORA, someAdapter(model));
    const loss = softLoss(model, adapter, packBatch(someSamples(3), 3), { target: 0.1, distilled: 0.1 });
    adapter.dispose();
    return loss;
  };
  const [bf16, f32] = [run(half), run(full)];
  expect(Math.abs(bf16.targetSum / f32.targetSum - 1)).toBeLessThan(0.01);
  expect(Math.abs(bf16.distilledSum / f32.distilledSum - 1)).toBeLessThan(0.01);
  expect(bf16.targetSum).not.toBe(f32.targetSum);
  for (const [name, gradient] of f32.gradients) {
    const other = bf16.gradients.get(name)!;
    const dot = gradient.reduce((sum, g, i) => sum + g * other[i]!, 0);
    expect(dot / Math.hypot(...gradient) / Math.hypot(...other), name).toBeGreaterThan(0.99);
  }
  expect(run(half)).toEqual(bf16);
});

it('embeds near float32, row by row', () => {
  const texts = [[5, 6, 7], [8], [9, 10]];
  const [bf16, f32] = [embedTile(half, texts), embedTile(full, texts)];
  expect(bf16.length).toBe(3 * half.config.hiddenSize);
  const difference = Math.hypot(...bf16.map((x, i) => x - f32[i]!)) / Math.hypot(...f32);
  expect(difference).toBeGreaterThan(0);
  expect(difference).toBeLessThan(0.03);
  expect(embedTile(half, texts)).toEqual(bf16);
});

it('generates, the same each time', async () => {
  const options = { beamWidth: 3, maxNewTokens: 5, endIds: [0], prefix: 1 };
  const prompts = [
    [5, 6, 7],
    [5, 9],
  ];
  const before = tf.memory().numTensors;
  const beams = await generateTile(half, prompts, options);
  expect(tf.memory().numTensors).toBe(before);
  expect(beams.map(({ length }) => length)).toEqual([3, 3]);
  expect(await generateTile(half, prompts, options)).toEqual(beams);
});
