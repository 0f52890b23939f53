import { describe, expect, it } from 'vitest';
import { bootstrapDifference, bootstrapMean, resampledMeans, verdict, windowsNeeded } from '../../report/bootstrap.ts';

const hits = (count: number, of: number) => Array.from({ length: of }, (_, index) => (index < count ? 1 : 0));

describe('bootstrap of a mean', () => {
  it('is as wide as the normal approximation says where that holds', () => {
    const { mean, low, high } = bootstrapMean(hits(50, 100));
    expect(mean).toBe(0.5);
    expect(low).toBeGreaterThan(0.5 - 0.115);
    expect(low).toBeLessThan(0.5 - 0.08);
    expect(high).toBeGreaterThan(0.5 + 0.08);
    expect(high).toBeLessThan(0.5 + 0.115);
  });

  it('gives the same interval for the same seed and other draws for another', () => {
    expect(bootstrapMean(hits(7, 64), { seed: 1 })).toEqual(bootstrapMean(hits(7, 64), { seed: 1 }));
    expect(resampledMeans(hits(7, 64), { seed: 1 })).not.toEqual(resampledMeans(hits(7, 64), { seed: 2 }));
  });

  it('draws a resample as a function of its place alone', () => {
    const few = resampledMeans(hits(7, 64), { resamples: 10 });
    expect(resampledMeans(hits(7, 64), { resamples: 200 }).slice(0, 10)).toEqual(few);
  });

  it('draws every window equally often', () => {
    const n = 37;
    for (const window of [0, 1, 18, 36]) {
      const only = Array.from({ length: n }, (_, index) => (index === window ? 1 : 0));
      const means = resampledMeans(only, { resamples: 20_000 });
      const average = means.reduce((sum, value) => sum + value, 0) / means.length;
      expect(average * n).toBeCloseTo(1, 1);
    }
  });

  it('covers the true mean in about 95 % of samples', () => {
    const uniforms = resampledMeans(
      [...Array(1000).keys()].map((index) => index / 1000),
      { resamples: 1 },
    );
    expect(uniforms[0]).toBeCloseTo(0.5, 1);
    let covered = 0;
    for (let trial = 0; trial < 300; trial++) {
      const draws = Array.from(
        { length: 60 },
        (_, i) => ((Math.imul(trial * 60 + i + 1, 2654435761) >>> 8) & 1) as number,
      );
      const { low, high } = bootstrapMean(draws, { resamples: 400, seed: trial });
      if (low <= 0.5 && high >= 0.5) covered++;
    }
    expect(covered / 300).toBeGreaterThan(0.88);
  });

  it('does not take a model without a hit for certainly hitless', () => {
    const { low, high } = bootstrapMean(hits(0, 100));
    expect(low).toBe(0);
    expect(high).toBeCloseTo(1 - 0.025 ** 0.01, 12);
    expect(bootstrapMean(hits(100, 100)).low).toBeCloseTo(0.025 ** 0.01, 12);
  });
});

describe('paired bootstrap', () => {
  it('calls equal models within noise', () => {
    const difference = bootstrapDifference(hits(5, 64), hits(5, 64));
    expect(difference).toEqual({ mean: 0, low: 0, high: 0, wins: 0, losses: 0, withinNoise: true });
    expect(verdict(difference)).toBe('within noise');
  });

  it('sees a difference that unpaired intervals would miss', () => {
    const first = hits(60, 200);
    const second = hits(50, 200);
    const difference = bootstrapDifference(first, second);
    expect(difference.mean).toBeCloseTo(0.05, 12);
    expect(difference.wins).toBe(10);
    expect(bootstrapMean(first).low).toBeLessThan(bootstrapMean(second).high);
    expect(verdict(difference)).toBe('better');
    expect(verdict(bootstrapDifference(second, first))).toBe('worse');
  });

  it('calls five wins against none within noise, because a sign test would', () => {
    expect(bootstrapDifference(hits(5, 64), hits(0, 64))).toMatchObject({ wins: 5, losses: 0, withinNoise: true });
    expect(bootstrapDifference(hits(8, 64), hits(0, 64))).toMatchObject({ wins: 8, withinNoise: false });
  });

  it('refuses models of different windows', () => {
    expect(() => bootstrapDifference([1], [1, 0])).toThrow('same windows, got 1 and 2');
  });
});

describe('windows needed', () => {
  it('is about 2,700 for .01 above .0125', () => {
    expect(windowsNeeded(0.0125, 0.01)).toBeGreaterThan(2650);
    expect(windowsNeeded(0.0125, 0.01)).toBeLessThan(2750);
  });
});
