import { beforeAll, describe, expect, it } from 'vitest';
import { kernelsFor } from '../../model/kernel-sets.ts';
import type { Kernels, Tensor2D } from '../../model/kernels.ts';
import { plainKernels as plain } from '../../model/plain-kernels.ts';
import { tf } from '../../model/tf.ts';
import { filled, PRODUCT_SHAPES, productInputs } from './kernel-cases.ts';
import { openTensorflow } from './reference.ts';

const sets = {} as Record<'f32' | 'bf16', Kernels>;
beforeAll(async () => {
  await openTensorflow();
  sets.f32 = kernelsFor('f32');
  sets.bf16 = kernelsFor('bf16');
});

/** The nearest numbers of 8 bits, ties to even: what a product in bfloat16 may see of its inputs. */
function rounded(values: Float32Array): Float32Array {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  return new Float32Array(bits.map((b) => ((b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000) >>> 0).buffer);
}

function valuesOf(tensor: Tensor2D): Float32Array {
  const values = Float32Array.from(tensor.dataSync());
  tensor.dispose();
  return values;
}

const matrixOf = (values: Float32Array, { shape }: Tensor2D) => tf.tensor2d(rounded(values), shape);

describe.each(Object.keys(PRODUCT_SHAPES))('products of %s in bfloat16', (name) => {
  it('are those of the rounded inputs, summed in float32', () => {
    const shape = PRODUCT_SHAPES[name]!;
    const { x, weights, dys } = productInputs(shape);
    const matrices = weights.map(({ out, data }) => sets.bf16.freeze(data, out, shape.in));
    const exact = weights.map(({ out, data }) => plain.freeze(rounded(data), out, shape.in));
    const ys = sets.bf16.linear(x, matrices);
    const expected = plain.linear(matrixOf(Float32Array.from(x.dataSync()), x), exact);
    ys.forEach((y, i) => expectNear(valuesOf(y), valuesOf(expected[i]!)));
    matrices.forEach((matrix, i) => {
      const dy = dys[i]!;
      const dx = valuesOf(sets.bf16.linearGrad([dy], [matrix]));
      expect(valuesOf(sets.bf16.linearGrad([dy], [matrix]))).toEqual(dx);
      expectNear(dx, valuesOf(plain.linearGrad([matrixOf(Float32Array.from(dy.dataSync()), dy)], [exact[i]!])));
      const last = sets.bf16.rows(matrix, Int32Array.of(matrix.out - 1));
      expect(valuesOf(last)).toEqual(rounded(weights[i]!.data).subarray(-shape.in));
    });
    const whole = dys.map((dy) => matrixOf(Float32Array.from(dy.dataSync()), dy));
    expectNear(valuesOf(sets.bf16.linearGrad(dys, matrices)), valuesOf(plain.linearGrad(whole, exact)));
    for (const matrix of [...matrices, ...exact]) matrix.dispose();
  });
});

describe.each(['f32', 'bf16'] as const)('in %s', (precision) => {
  it('a row has the same bits whatever shares its product', () => {
    const kernels = sets[precision];
    const data = Float32Array.from(filled([70, 100], 1).dataSync());
    const matrix = kernels.freeze(data, 70, 100);
    const x = filled([300, 100], 2);
    const dy = filled([300, 70], 3);
    const rowsOf = (tensor: Tensor2D, count: number) => tf.slice(tensor, [200, 0], [count, -1]) as Tensor2D;
    const y = kernels.linear(x, [matrix])[0]!;
    const dx = kernels.linearGrad([dy], [matrix]);
    for (const count of [1, 3, 4, 15, 31, 97]) {
      const few = kernels.linear(rowsOf(x, count), [matrix])[0]!;
      expect(valuesOf(few), `${count} rows`).toEqual(valuesOf(rowsOf(y, count)));
      const fewGrad = kernels.linearGrad([rowsOf(dy, count)], [matrix]);
      expect(valuesOf(fewGrad), `${count} rows of a gradient`).toEqual(valuesOf(rowsOf(dx, count)));
    }
    matrix.dispose();
  });

  it('a number that is none reaches every product with it, and no other row', () => {
    const kernels = sets[precision];
    const matrix = kernels.freeze(Float32Array.from(filled([40, 8], 1).dataSync()), 40, 8);
    const values = Float32Array.from(filled([3, 8], 2).dataSync());
    values[8 + 5] = Number.NaN;
    const y = valuesOf(kernels.linear(tf.tensor2d(values, [3, 8]), [matrix])[0]!);
    expect([0, 40, 80].map((start) => y.subarray(start, start + 40).every(Number.isNaN))).toEqual([false, true, false]);
    expect(y.filter(Number.isNaN)).toHaveLength(40);
    matrix.dispose();
  });

  it('refuses rows that the matrix does not have', () => {
    const matrix = sets[precision].freeze(new Float32Array(8), 4, 2);
    expect(() => sets[precision].rows(matrix, Int32Array.of(4))).toThrow(/row 4 of 4/);
    matrix.dispose();
  });
});

function expectNear(actual: Float32Array, expected: Float32Array): void {
  const length = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  expect(length(actual.map((value, i) => value - expected[i]!)) / length(expected)).toBeLessThan(3e-6);
}
