import { beforeAll, describe, expect, it } from 'vitest';
import { knownMatmulRate, matmulRate } from '../../model/matmul-rate.ts';
import type { ModelConfig } from '../../model/model-config.ts';
import { tf } from '../../model/tf.ts';
import { openTensorflow } from './reference.ts';

const config = {
  layers: 2,
  hiddenSize: 64,
  heads: 4,
  kvHeads: 2,
  headSize: 16,
  ffnSize: 128,
  vocabSize: 512,
} as ModelConfig;

beforeAll(async () => {
  await openTensorflow();
});

describe.each(['f32', 'bf16'] as const)('the matrix product rate in %s', (precision) => {
  it('lies between a toy and a data centre, and leaves no tensor behind', () => {
    const before = tf.memory().numTensors;
    const rate = matmulRate(config, precision, 64, 0.02);
    expect(rate).toBeGreaterThan(1e7);
    expect(rate).toBeLessThan(1e15);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('is measured once a process, and again where real work was faster', () => {
    const known = knownMatmulRate(config, precision, 64) as number;
    expect(knownMatmulRate(config, precision, 64, known / 2)).toBe(known);
    const again = knownMatmulRate(config, precision, 64, 2 * known) as number;
    expect(again).toBeGreaterThanOrEqual(known);
    expect(knownMatmulRate(config, precision, 64)).toBe(again);
  });
});
