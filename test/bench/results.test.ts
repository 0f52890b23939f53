import { describe, expect, it } from 'vitest';
import type { PrecisionResult } from '../../bench/compare.ts';
import { isFlat } from '../../bench/flatness.ts';
import { machine, renderResults, summarize } from '../../bench/results.ts';

const measured = (factor: number): PrecisionResult => ({
  tasks: {
    trainStep: { peer: [8, 8, 10], softflow: [2, 4, 2] },
    generate: { peer: [9 * factor], softflow: [2] },
    encode: { peer: [factor], softflow: [1] },
  },
  rates: [
    { flopRate: 70e9, matmulRate: 100e9, tokensPerSecond: 300 },
    { flopRate: 80e9, matmulRate: 100e9, tokensPerSecond: 400 },
    { flopRate: 50e9, matmulRate: 100e9, tokensPerSecond: 200 },
  ],
  rss: { peer: factor * 1e9, softflow: 2e9 },
  sameBeams: '8 of 8',
  losses: [],
});

const results = summarize(
  {
    f32: measured(2),
    bf16: measured(1.5),
    pipeline: { peer: { seconds: 50, peakRssBytes: 1 }, softflow: { seconds: 10, peakRssBytes: 1 } },
  },
  machine(),
);

describe('the results of a benchmark', () => {
  it('hold the ratios, the memory and the share of the machine’s limit', () => {
    expect(results.ratios).toEqual({
      trainStepF32: 4,
      trainStepBf16: 4,
      generateF32: 9,
      generateBf16: 6.75,
      encodeTitles: 1.5,
      pipeline: 5,
    });
    expect(results.rss).toEqual({ peer: 2e9, softflow: 2e9 });
    expect(results.mfu).toEqual({ f32: 0.7, bf16: 0.7 });
  });

  it('have no ratio without the peer', () => {
    const own = measured(1);
    for (const timed of Object.values(own.tasks)) timed.peer = [];
    delete own.rss.peer;
    const { ratios, rss, mfu } = summarize({ f32: own }, machine());
    expect(ratios).toEqual({});
    expect(rss).toEqual({ softflow: 2e9 });
    expect(mfu.f32).toBe(0.7);
  });

  it('are shown with what they should reach', () => {
    const text = renderResults(results);
    expect(text).toMatch(/trainStepF32 +8\.00 s +2\.00 s +4\.00 +reached 4\n/);
    expect(text).toMatch(/encodeTitles, bf16 +1\.50 s +1\.00 s +1\.50 +reached 1\n/);
    expect(text).toMatch(/pipeline +50\.0 s +10\.0 s +5\.00 +reached 4\n/);
    expect(text).toMatch(/300 tokens\/s, 70 useful GFLOP\/s/);
  });
});

describe('memory over many steps', () => {
  const marks = (rss: number[], tensors = 5) => rss.map((rssBytes) => ({ rssBytes, tensors }));
  it('is flat when neither tensors nor RSS grow', () => {
    expect(isFlat(marks([90, 100, 99, 101]))).toBe(true);
    expect(isFlat(marks([90, 100, 110, 120]))).toBe(false);
    expect(isFlat([...marks([90, 100, 100]), { rssBytes: 100, tensors: 6 }])).toBe(false);
  });
});
