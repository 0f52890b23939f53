import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../model/model-config.ts';
import { plainKernels } from '../../model/plain-kernels.ts';
import { inverseFrequencies, rotationAt } from '../../model/rotary.ts';
import { tf } from '../../model/tf.ts';
import { tinyModel } from '../../model/tiny-model.ts';
import { openTensorflow } from './reference.ts';

const config: ModelConfig = { ...tinyModel().config, headSize: 8, ropeTheta: 10_000 };

describe('inverse frequencies', () => {
  it('are theta^(-2i / size)', () => {
    const expected = [1, 0.1, 0.01, 0.001];
    inverseFrequencies(config).forEach((f, i) => expect(f).toBeCloseTo(expected[i]!, 8));
  });

  it('are divided by the factor of linear scaling, or by one factor each', () => {
    const linear = inverseFrequencies({ ...config, ropeScaling: { type: 'linear', factor: 4 } });
    linear.forEach((f, i) => expect(f).toBeCloseTo([0.25, 0.025, 0.0025, 0.00025][i]!, 8));
    const factors = inverseFrequencies({ ...config, ropeScaling: { type: 'factors', factors: [1, 2, 4, 8] } as never });
    factors.forEach((f, i) => expect(f).toBeCloseTo([1, 0.05, 0.0025, 0.000125][i]!, 8));
  });

  it('of Llama 3: short waves stay, long ones are stretched, those between are blended', () => {
    const scaling = {
      type: 'llama3',
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPosition: 100,
    } as const;
    const [short, between, , long] = inverseFrequencies({ ...config, ropeScaling: scaling });
    expect(short).toBe(1); // 100 / 2 pi = 15.9 turns
    const turns = (100 * 0.1) / (2 * Math.PI); // 1.59
    const smooth = (turns - 1) / 3;
    expect(between).toBeCloseTo(0.1 * ((1 - smooth) / 8 + smooth), 7);
    expect(long).toBeCloseTo(0.001 / 8, 9);
  });
});

describe('a rotation', () => {
  let before: number;
  beforeAll(openTensorflow);
  beforeEach(() => {
    before = tf.memory().numTensors;
  });
  afterEach(() => expect(tf.memory().numTensors).toBe(before));

  it('turns each pair of halves by position times frequency', () => {
    const rotation = rotationAt(Int32Array.of(0, 3), Float32Array.of(Math.PI / 6, 0));
    const x = tf.tensor2d([
      [1, 2, 3, 4],
      [1, 2, 3, 4],
    ]);
    const y = plainKernels.rope(x, rotation, 1);
    // Position 3: (1, 3) by 90 degrees gives (-3, 1); frequency 0 leaves (2, 4).
    const expected = [1, 2, 3, 4, -3, 2, 1, 4];
    y.dataSync().forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 6));
    tf.dispose([x, y]);
    rotation.dispose();
  });

  it('makes the product of query and key a function of their distance', () => {
    const frequencies = inverseFrequencies(config);
    const score = (query: number, key: number) => {
      const rotation = rotationAt(Int32Array.of(query, key), frequencies);
      const x = tf.tensor2d([
        [1, -2, 3, 0.5, 2, 1, -1, 4],
        [0.3, 1, -1, 2, 0.7, -2, 1, 1],
      ]);
      const values = plainKernels.rope(x, rotation, 1);
      const rows = values.arraySync();
      tf.dispose([x, values]);
      rotation.dispose();
      return rows[0]!.reduce((sum, q, i) => sum + q * rows[1]![i]!, 0);
    };
    expect(score(9, 4)).toBeCloseTo(score(105, 100), 3);
    expect(Math.abs(score(9, 4) - score(10, 4))).toBeGreaterThan(0.1);
  });
});
