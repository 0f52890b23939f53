import { beforeAll, describe, expect, it } from 'vitest';
import { type BackendName, openBackend } from '../../model/backend.ts';
import { embedTile } from '../../model/embedding.ts';
import { generateTile } from '../../model/generation.ts';
import { kernelsFor } from '../../model/kernel-sets.ts';
import { uploadAdapter } from '../../model/lora.ts';
import { packBatch } from '../../model/packing.ts';
import { type SoftLoss, softLoss } from '../../model/soft-loss.ts';
import { tf } from '../../model/tf.ts';
import { openTensorflow } from './reference.ts';
import { LORA, loadTiny, someAdapter, someSamples, TINIEST } from './tiny-samples.ts';

interface Numbers extends SoftLoss {
  embedding: Float32Array;
  beams: number[][];
}

/** Loss, gradients, an embedding and beams of the tiniest model on the open backend, with nothing left behind. */
async function compute(): Promise<Numbers> {
  const before = tf.memory().numTensors;
  const model = await loadTiny(kernelsFor('f32'), TINIEST);
  const adapter = uploadAdapter(model.config, LORA, someAdapter(model));
  const loss = softLoss(model, adapter, packBatch(someSamples(2), 3), { target: 0.1, distilled: 0.1 });
  const embedding = embedTile(model, [[5, 6, 7]]);
  const options = { beamWidth: 2, maxNewTokens: 3, endIds: [0], prefix: 1, lora: adapter };
  const [beams] = await generateTile(
    model,
    [
      [5, 6, 7],
      [5, 9],
    ],
    options,
  );
  adapter.dispose();
  model.dispose();
  expect(tf.memory().numTensors).toBe(before);
  return { ...loss, embedding, beams: beams!.map(({ ids }) => ids) };
}

let expected: Numbers;
beforeAll(async () => {
  await openTensorflow();
  expected = await compute();
});

describe.each(['cpu', 'wasm'] satisfies BackendName[])('the %s backend', (name) => {
  it('gives the numbers of TensorFlow', async () => {
    const backend = await openBackend({ name });
    expect(backend.fingerprint).toMatchObject({ backend: name });
    expect(tf.getBackend()).toBe(name);
    const actual = await compute();
    expect(Math.abs(actual.targetSum - expected.targetSum)).toBeLessThan(1e-4 * expected.targetSum);
    expect(Math.abs(actual.distilledSum - expected.distilledSum)).toBeLessThan(1e-4 * expected.distilledSum);
    for (const [tensor, gradient] of expected.gradients) expectNear(actual.gradients.get(tensor)!, gradient, tensor);
    expectNear(actual.embedding, expected.embedding, 'embedding');
    expect(actual.beams).toEqual(expected.beams);
  });

  it('has no bfloat16, and says what to use', async () => {
    await openBackend({ name });
    expect(() => kernelsFor('bf16')).toThrow(expect.objectContaining({ code: 'PRECISION_UNSUPPORTED' }));
  });
});

it('asks for the addon when TensorFlow is named without one', async () => {
  await expect(openBackend({ name: 'tensorflow' })).rejects.toMatchObject({ code: 'TENSORFLOW_NOT_LOADED' });
});

function expectNear(actual: Float32Array, gradient: Float32Array, what: string): void {
  const difference = Math.hypot(...actual.map((x, i) => x - gradient[i]!));
  expect(difference / Math.hypot(...gradient), what).toBeLessThan(1e-4);
}
