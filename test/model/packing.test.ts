import { describe, expect, it } from 'vitest';
import { commonPrefixLength, packBatch, segmentLength, segmentMask } from '../../model/packing.ts';

/** Two prompts behind the shared prefix [1, 2]; 0 is the end token. */
const SAMPLES = [
  { windowId: 'a', prompt: [1, 2, 3], target: [7, 8, 0], distilled: [9, 0] },
  { windowId: 'b', prompt: [1, 2, 4, 5], target: [6, 0] },
];

describe('a packed batch', () => {
  const batch = packBatch(SAMPLES, 2);

  it('holds the prefix once, then the rest of each prompt, y and y-hat without their last tokens', () => {
    expect([...batch.ids]).toEqual([1, 2, /* a */ 3, 7, 8, 9, /* b */ 4, 5, 6]);
    expect(batch.segments).toEqual([
      { windowId: 'a', start: 2, rest: 1, target: 2, distilled: 1 },
      { windowId: 'b', start: 6, rest: 2, target: 1, distilled: 0 },
    ]);
    expect(batch.segments.map(segmentLength)).toEqual([4, 3]);
  });

  it('lets y and y-hat both start at the position where the prompt ends', () => {
    expect([...batch.positions]).toEqual([0, 1, /* a */ 2, 3, 4, 3, /* b */ 2, 3, 4]);
  });

  it('predicts the first token of y and of y-hat from the last one of the prompt', () => {
    expect([...batch.lossRows]).toEqual([2, 3, 4, /* y-hat */ 2, 5, /* b */ 7, 8]);
    expect([...batch.lossIds]).toEqual([7, 8, 0, 9, 0, 6, 0]);
    expect([...batch.lossIsDistilled]).toEqual([0, 0, 0, 1, 1, 0, 0]);
  });
});

it('shows y and y-hat the prefix and the prompt, but not each other', () => {
  const segment = { windowId: 'a', start: 2, rest: 1, target: 2, distilled: 2 };
  const seen = Array.from(segmentMask(segment, 2), (value) => (value === 0 ? 1 : 0));
  const rows = Array.from({ length: 5 }, (_, row) => seen.slice(row * 7, (row + 1) * 7).join(' '));
  expect(rows).toEqual([
    // prefix, prompt, y, y-hat
    '1 1 1 0 0 0 0',
    '1 1 1 1 0 0 0',
    '1 1 1 1 1 0 0',
    '1 1 1 0 0 1 0',
    '1 1 1 0 0 1 1',
  ]);
});

it('needs a token of each prompt behind the prefix: it predicts the first answer token', () => {
  expect(() => packBatch(SAMPLES, 3)).toThrow('Expected a prompt longer than the shared prefix (3), got 3 tokens');
});

it('has no loss rows for samples without answers', () => {
  const batch = packBatch([{ windowId: 'a', prompt: [1, 2], target: [] }], 0);
  expect(batch.lossRows.length).toBe(0);
  expect(segmentLength(batch.segments[0]!)).toBe(2);
});

it('finds the longest common prefix, up to a limit', () => {
  expect(commonPrefixLength([])).toBe(0);
  expect(commonPrefixLength([[1, 2, 3]])).toBe(3);
  expect(
    commonPrefixLength([
      [1, 2, 3, 4],
      [1, 2, 9],
      [1, 2, 3],
    ]),
  ).toBe(2);
  expect(commonPrefixLength([[5], [6]])).toBe(0);
  expect(
    commonPrefixLength(
      [
        [1, 2, 3],
        [1, 2, 3],
      ],
      2,
    ),
  ).toBe(2);
});
