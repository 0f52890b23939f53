import { describe, expect, it } from 'vitest';
import { attendedPairs, linearWeights, usefulFlops } from '../../model/flops.ts';
import type { ModelConfig } from '../../model/model-config.ts';
import { packBatch, segmentMask } from '../../model/packing.ts';

const config = {
  layers: 3,
  hiddenSize: 8,
  heads: 2,
  kvHeads: 1,
  headSize: 4,
  ffnSize: 16,
  vocabSize: 32,
} as ModelConfig;

describe('useful FLOPs', () => {
  it('count the weights of a layer', () => {
    // q 8x8, k 4x8, v 4x8, o 8x8, gate 16x8, up 16x8, down 8x16
    expect(linearWeights(config)).toBe(64 + 32 + 32 + 64 + 128 + 128 + 128);
  });

  it('count the pairs that the attention mask lets through', () => {
    const batch = packBatch(
      [
        { windowId: 'a', prompt: [1, 2, 3, 4], target: [5, 6, 0], distilled: [7, 0] },
        { windowId: 'b', prompt: [1, 2, 9], target: [5, 0] },
      ],
      2,
    );
    const seen = batch.segments
      .flatMap((segment) => [...segmentMask(segment, batch.prefix)])
      .filter((value) => value === 0).length;
    expect(attendedPairs(batch)).toBe(3 + seen);
  });

  it('are the sum of linear, head, attention and adapter work', () => {
    const batch = packBatch([{ windowId: 'a', prompt: [1, 2, 3], target: [5, 0] }], 0);
    // 4 tokens run, 2 are predicted; each token sees itself and those before it: 10 pairs.
    const linear = 4 * 3 * 576 * 4;
    const head = 4 * 32 * 8 * 2;
    const attention = 3 * 12 * 8 * 10;
    const adapter = 3 * 6 * 2 * (8 + 8) * 4;
    expect(usefulFlops(config, batch, { rank: 2, targets: ['q_proj'] })).toBe(linear + head + attention + adapter);
  });

  it('grow with the tokens that run, not with padding', () => {
    const one = packBatch([{ windowId: 'a', prompt: [1, 2, 3, 4], target: [5, 0] }], 3);
    const two = packBatch(
      [
        { windowId: 'a', prompt: [1, 2, 3, 4], target: [5, 0] },
        { windowId: 'b', prompt: [1, 2, 3, 4], target: [5, 0] },
      ],
      3,
    );
    const lora = { rank: 1, targets: ['v_proj'] };
    // The shared prefix of 3 runs once: 5 tokens, then 7.
    const growth = usefulFlops(config, two, lora) / usefulFlops(config, one, lora);
    expect(growth).toBeGreaterThan(1.4);
    expect(growth).toBeLessThan(1.7);
  });
});
