import { beforeAll, describe, expect, it } from 'vitest';
import { kernelsFor } from '../../model/kernel-sets.ts';
import type { Kernels, Tensor, Tensor2D } from '../../model/kernels.ts';
import { plainKernels as plain } from '../../model/plain-kernels.ts';
import { rotationAt } from '../../model/rotary.ts';
import { tf } from '../../model/tf.ts';
import { ATTENTION_SHAPES, attentionInputs, dropoutRows, filled, KERNEL_CASES } from './kernel-cases.ts';
import { kernelDigests } from './kernel-processes.ts';
import { openTensorflow } from './reference.ts';

let fused: Kernels;
beforeAll(async () => {
  await openTensorflow();
  fused = kernelsFor('f32');
});

it('has the fused kernels on this machine', () => {
  expect(fused.name).toBe('fused');
});

describe.each(Object.keys(KERNEL_CASES))('%s', (name) => {
  const outputs = (kernels: Kernels): Float32Array[] => {
    const tensors = KERNEL_CASES[name]!(kernels);
    const values = tensors.map((tensor) => Float32Array.from(tensor.dataSync()));
    tf.dispose(tensors);
    return values;
  };

  it('is the same fused and plain, the same bytes each time, and leaves no tensor behind', () => {
    const expected = outputs(plain);
    const before = tf.memory().numTensors;
    const actual = outputs(fused);
    expect(tf.memory().numTensors).toBe(before);
    outputs(plain);
    expect(tf.memory().numTensors).toBe(before);
    expect(outputs(fused)).toEqual(actual);
    expect(actual.length).toBe(expected.length);
    if (name.startsWith('dropout')) expect(actual[0]).toEqual(expected[0]);
    actual.forEach((values, i) => expect(relativeDifference(values, expected[i]!), `output ${i}`).toBeLessThan(3e-6));
  });
});

it('gives the same bytes on one thread and on two', async () => {
  const threads = (count: string) => ({ TF_NUM_INTRAOP_THREADS: count, OMP_NUM_THREADS: count });
  const [one, two] = await Promise.all([kernelDigests(threads('1')), kernelDigests(threads('2'))]);
  expect(Object.keys(one.digests)).toEqual(Object.keys(KERNEL_CASES));
  expect(one.kernels).toBe('fused');
  expect(two).toEqual(one);
});

describe('a plain vector-Jacobian product equals finite differences for', () => {
  const shape: [number, number] = [5, 18];

  it('the norm', () => {
    const [x, weight] = [filled(shape, 1), filled([1, 18], 2)];
    const dy = filled(shape, 3);
    const { r } = plain.rmsNorm(x, weight, 1e-5);
    const dx = plain.rmsNormGrad([dy], x, weight, r);
    expectGradient([x], [dx], dy, ([x]) => plain.rmsNorm(x!, weight, 1e-5).y);
    const twice = plain.rmsNormGrad([dy, dy], x, weight, r, dy);
    expectEqual(twice, tf.add(tf.mul(dx, 2), dy));
  });

  it('the rotation', () => {
    const rotation = rotationAt(Int32Array.of(0, 1, 5, 9, 200), Float32Array.of(1, 0.1, 0.01));
    const [x, dy] = [filled(shape, 1), filled(shape, 2)];
    const dx = plain.ropeGrad(dy, rotation, 3);
    expectGradient([x], [dx], dy, ([x]) => plain.rope(x!, rotation, 3));
  });

  it('SwiGLU', () => {
    const [g, u, da] = [filled(shape, 1), filled(shape, 2), filled(shape, 3)];
    const { dg, du } = plain.swiGluGrad(da, g, u);
    expectGradient([g, u], [dg, du], da, ([g, u]) => plain.swiGlu(g!, u!));
  });

  it('a product with a frozen matrix', () => {
    const weight = plain.freeze(Float32Array.from(filled([4, 18], 1).dataSync()), 4, 18);
    const [x, dy] = [filled(shape, 2), filled([5, 4], 3)];
    expectGradient([x], [plain.linearGrad([dy], [weight])], dy, ([x]) => plain.linear(x!, [weight])[0]!);
    weight.dispose();
  });

  it('dropout, which is its own gradient', () => {
    const [x, dy] = [filled(shape, 1), filled(shape, 2)];
    const rows = dropoutRows(5, 0.3);
    expectGradient([x], [plain.dropout(dy, rows)], dy, ([x]) => plain.dropout(x!, rows));
  });

  it('cross-entropy', () => {
    const logits = filled(shape, 1, 3);
    const ids = Int32Array.of(0, 17, 4, 4, 9);
    const { dLogits } = plain.crossEntropy(logits, ids);
    const ones = tf.ones([5, 1]) as Tensor2D;
    expectGradient(
      [logits],
      [dLogits],
      ones,
      ([l]) => tf.reshape(plain.crossEntropy(l!, ids).loss, [5, 1]) as Tensor2D,
    );
  });

  it.each(Object.keys(ATTENTION_SHAPES))('attention over %s', (name) => {
    const { layout: of, q, k, v, dO } = attentionInputs(ATTENTION_SHAPES[name]!);
    const layout = plain.layout(of);
    const { o, saved } = plain.attention(q, k, v, layout);
    const { dq, dk, dv } = plain.attentionGrad(dO, q, k, v, o, saved, layout);
    expectGradient([q, k, v], [dq, dk, dv], dO, ([q, k, v]) => plain.attention(q!, k!, v!, layout).o);
    layout.dispose();
  });
});

it('gives the uniform distribution the loss log V, and a sure answer none', () => {
  const { loss, dLogits } = plain.crossEntropy(
    tf.tensor2d([
      [0, 0, 0, 0],
      [0, 100, 0, 0],
    ]),
    Int32Array.of(2, 1),
  );
  expect(loss.dataSync()[0]).toBeCloseTo(Math.log(4), 6);
  expect(loss.dataSync()[1]).toBeCloseTo(0, 6);
  expect(Array.from(dLogits.dataSync(), (x) => Math.round(x * 100) / 100)).toEqual([
    0.25, 0.25, -0.75, 0.25, 0, 0, 0, 0,
  ]);
});

describe.each([Number.NaN, Number.POSITIVE_INFINITY])('%s in one query, key or value', (value) => {
  it.each(['q', 'k', 'v'] as const)('(%s) vanishes neither from the attention nor from its gradient', (which) => {
    const { layout: of, dO, ...inputs } = attentionInputs(ATTENTION_SHAPES['y alone']!);
    const data = Float32Array.from(inputs[which].dataSync());
    const token = 2;
    data[inputs[which].shape[1] * token] = value;
    inputs[which] = tf.tensor2d(data, inputs[which].shape);
    const { q, k, v } = inputs;
    const layout = fused.layout(of);
    const { o, saved } = fused.attention(q, k, v, layout);
    const { dq } = fused.attentionGrad(dO, q, k, v, o, saved, layout);
    for (const tensor of [o, dq]) {
      const row = tf.slice(tensor, [token, 0], [1, -1]).dataSync() as Float32Array;
      expect(row.every(Number.isFinite)).toBe(false);
    }
  });
});

it('refuses segments outside of the rows', () => {
  const { layout: of, q, k, v } = attentionInputs(ATTENTION_SHAPES['y alone']!);
  const attend = (segments: typeof of.segments) => () => fused.attention(q, k, v, fused.layout({ ...of, segments }));
  expect(attend(of.segments)).not.toThrow();
  expect(attend([{ windowId: 'w', start: 3, rest: 99, target: 0, distilled: 0 }])).toThrow(/lies outside/);
});

/** The directional derivative of <dy, f(x)> by central differences, against <dx, direction>; three directions. */
function expectGradient(
  inputs: Tensor2D[],
  gradients: Tensor2D[],
  dy: Tensor2D,
  f: (inputs: Tensor2D[]) => Tensor2D,
): void {
  const step = 1e-2;
  const value = (at: Tensor2D[]) => dot(f(at), dy);
  inputs.forEach((x, i) => {
    for (const stream of [100, 101, 102]) {
      const direction = filled(x.shape, stream);
      const moved = (by: number) =>
        inputs.map((input, j) => (j === i ? (tf.add(input, tf.mul(direction, by)) as Tensor2D) : input));
      const difference = (value(moved(step)) - value(moved(-step))) / (2 * step);
      // One token sees itself alone: its query's gradient is 0, and what is left is rounding.
      const scale = Math.sqrt(dot(gradients[i]!, gradients[i]!)) + 0.01 * Math.sqrt(dot(dy, dy));
      expect(Math.abs(difference - dot(gradients[i]!, direction)) / scale, `input ${i}`).toBeLessThan(3e-3);
    }
  });
}

function dot(a: Tensor, b: Tensor): number {
  const [x, y] = [a.dataSync() as Float32Array, b.dataSync() as Float32Array];
  return x.reduce((sum, value, i) => sum + value * y[i]!, 0);
}

function expectEqual(actual: Tensor, expected: Tensor): void {
  const values = Float32Array.from(expected.dataSync());
  expect(relativeDifference(Float32Array.from(actual.dataSync()), values)).toBeLessThan(1e-6);
}

/** Inputs are about 1, so what is 0 but for rounding (the gradient of a softmax over one token) is measured against that. */
function relativeDifference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  return lengthOf(actual.map((value, i) => value - expected[i]!)) / Math.max(lengthOf(expected), 0.1);
}

function lengthOf(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
