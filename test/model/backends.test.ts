import { beforeAll, describe, expect, it } from 'vitest';
import { type BackendName, openBackend } from '../../model/backend.ts';
import { kernelsFor } from '../../model/kernel-sets.ts';
import { tf } from '../../model/tf.ts';
import { type BackendNumbers, computeNumbers, largestDifference } from './backend-numbers.ts';
import { openTensorflow } from './reference.ts';

let expected: BackendNumbers;
beforeAll(async () => {
  await openTensorflow();
  expected = await computeNumbers();
  expect(expected.leaked).toBe(0);
});

describe.each(['cpu', 'wasm'] satisfies BackendName[])('the %s backend', (name) => {
  it('gives the numbers of TensorFlow', async () => {
    const backend = await openBackend({ name });
    expect(backend.fingerprint).toMatchObject({ backend: name });
    expect(tf.getBackend()).toBe(name);
    const actual = await computeNumbers();
    expect(largestDifference(actual, expected)).toBeLessThan(1e-4);
    expect(actual.beams).toEqual(expected.beams);
    expect(actual.leaked).toBe(0);
  });

  it('has no bfloat16, and says what to use', async () => {
    await openBackend({ name });
    expect(() => kernelsFor('bf16')).toThrow(expect.objectContaining({ code: 'PRECISION_UNSUPPORTED' }));
  });
});

it('asks for the addon when TensorFlow is named without one', async () => {
  await expect(openBackend({ name: 'tensorflow' })).rejects.toMatchObject({ code: 'TENSORFLOW_NOT_LOADED' });
});

it('asks for Dawn when WebGPU is named without it', async () => {
  await expect(openBackend({ name: 'webgpu' })).rejects.toMatchObject({ code: 'WEBGPU_NO_DEVICE' });
});
