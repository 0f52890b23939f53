import { describe, expect, it } from 'vitest';
import { dropoutMask, placedDropout } from '../../model/dropout.ts';
import { packBatch } from '../../model/packing.ts';

const WIDTH = 64;
const PLACE = { seed: 42, stage: 'soft', step: 3 };
const SAMPLES = [
  { windowId: 'a', prompt: [1, 2, 3, 4], target: [7, 8, 9, 0], distilled: [7, 8, 9, 0] },
  { windowId: 'b', prompt: [1, 2, 3, 4], target: [7, 8, 9, 0], distilled: [7, 8, 9, 0] },
];

/** Masks of one projection, row by row. */
function masks(samples = SAMPLES, place = PLACE, layer = 0, projection = 'q_proj', rate = 0.5): string[] {
  const batch = packBatch(samples, 2);
  const mask = dropoutMask(placedDropout(batch, place, rate)!(layer, projection), WIDTH);
  return Array.from(batch.ids, (_, row) => mask.slice(row * WIDTH, (row + 1) * WIDTH).join(' '));
}

describe('the mask of a token', () => {
  const [prefix, promptA, yA, yHatA] = [0, 2, 4, 7];
  const promptB = 10;

  it('differs by position, sequence and answer, even where the tokens are equal', () => {
    const all = masks();
    expect(all.length).toBe(18);
    expect(new Set(all).size).toBe(18);
  });

  it('changes with the seed, the stage, the step, the layer and the projection', () => {
    const others = [
      masks(SAMPLES, { ...PLACE, seed: 43 }),
      masks(SAMPLES, { ...PLACE, stage: 'sft' }),
      masks(SAMPLES, { ...PLACE, step: 4 }),
      masks(SAMPLES, PLACE, 1),
      masks(SAMPLES, PLACE, 0, 'v_proj'),
    ];
    expect(new Set([masks(), ...others].map((rows) => rows[promptA])).size).toBe(6);
    expect(new Set([masks(), ...others].map((rows) => rows[prefix])).size).toBe(6);
  });

  it('is the same wherever its sample stands, and whether the other answer is there or not', () => {
    const both = masks();
    const swapped = masks([SAMPLES[1]!, SAMPLES[0]!]);
    expect(swapped.slice(promptB, promptB + 8)).toEqual(both.slice(promptA, promptA + 8));
    expect(swapped.slice(0, promptA)).toEqual(both.slice(0, promptA));
    const { distilled: _, ...target } = SAMPLES[0]!;
    const { target: __, ...distilled } = SAMPLES[0]!;
    expect(masks([target as never])).toEqual(both.slice(0, yHatA));
    expect(masks([distilled as never]).slice(yA)).toEqual(both.slice(yHatA, promptB));
  });
});

it('drops elements near the rate and scales the others by 1 / (1 - rate)', () => {
  const rows = 1000;
  for (const rate of [0.05, 0.5]) {
    const keys = new Int32Array(rows).fill(99);
    const mask = dropoutMask({ keys, tokens: Int32Array.from(keys, (_, t) => t), rate }, WIDTH);
    const share = mask.filter((value) => value === 0).length / mask.length;
    // 4 standard errors of 64,000 draws.
    expect(Math.abs(share - rate)).toBeLessThan(4 * Math.sqrt((rate * (1 - rate)) / mask.length));
    expect(new Set(mask)).toEqual(new Set([0, Math.fround(1 / (1 - rate))]));
  }
});

it('is absent at rate 0', () => {
  expect(placedDropout(packBatch(SAMPLES, 2), PLACE, 0)).toBeUndefined();
});
