import { describe, expect, it } from 'vitest';
import { median, medianRatio, table } from '../../bench/statistics.ts';

describe('the statistics of the benchmark', () => {
  it('take the middle, or the mean of the two middle ones', () => {
    expect(median([9, 1, 4])).toBe(4);
    expect(median([9, 1, 4, 6])).toBe(5);
    expect(median([])).toBeNaN();
  });

  it('take the median of each pair’s own ratio, not the ratio of medians', () => {
    expect(medianRatio({ peer: [10, 40, 9], softflow: [5, 10, 3] })).toBe(3);
    expect(medianRatio({ peer: [], softflow: [1, 2] })).toBeUndefined();
  });

  it('align numbers to the right', () => {
    expect(
      table([
        ['a', 'bb'],
        ['ccc', '1'],
      ]),
    ).toEqual(['a    bb', 'ccc   1']);
  });
});
