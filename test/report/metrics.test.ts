import { describe, expect, it } from 'vitest';
import {
  chanceHitRateAt,
  chanceNdcgAt,
  hitRateAt,
  ndcgAt,
  popularityRanks,
  predictionMetrics,
  rankMetrics,
  rankOf,
} from '../../report/metrics.ts';

describe('metrics worked out by hand', () => {
  const ranks = [1, 3, 11, 100];

  it('counts a hit where the rank is at most k', () => {
    expect(hitRateAt(ranks, 1)).toBe(0.25);
    expect(hitRateAt(ranks, 10)).toBe(0.5);
    expect(hitRateAt(ranks, 11)).toBe(0.75);
    expect(hitRateAt(ranks, 100)).toBe(1);
  });

  it('discounts a hit by log2(rank + 1): rank 1 gains 1, rank 3 gains 1/2, rank 7 gains 1/3', () => {
    expect(ndcgAt(ranks, 10)).toBe((1 + 1 / 2) / 4);
    expect(ndcgAt([7], 10)).toBeCloseTo(1 / 3, 15);
    expect(ndcgAt([7], 5)).toBe(0);
  });

  it('keys both by K', () => {
    expect(rankMetrics([1, 3], [1, 5])).toEqual({ hr: { 1: 0.5, 5: 1 }, ndcg: { 1: 0.5, 5: 0.75 }, windows: 2 });
  });

  it('gives chance as k/n and the mean gain over all ranks', () => {
    expect(chanceHitRateAt(1152, 10)).toBeCloseTo(0.00868, 5);
    expect(chanceHitRateAt(4, 10)).toBe(1);
    expect(chanceNdcgAt(4, 1)).toBe(0.25);
    expect(chanceNdcgAt(4, 3)).toBeCloseTo((1 + 0.6309297535714575 + 0.5) / 4, 15);
  });

  it('agrees with chance when every rank occurs once', () => {
    const every = Array.from({ length: 50 }, (_, index) => index + 1);
    expect(hitRateAt(every, 10)).toBeCloseTo(chanceHitRateAt(50, 10), 12);
    expect(ndcgAt(every, 10)).toBeCloseTo(chanceNdcgAt(50, 10), 12);
  });

  it('refuses to average over no windows', () => {
    expect(() => hitRateAt([], 10)).toThrow(
      expect.objectContaining({ code: 'NO_WINDOWS', message: expect.stringContaining('at least one ranked window') }),
    );
  });
});

describe('ranks', () => {
  it('counts the rows at or nearer than the target, itself excluded, so ties count against the model', () => {
    expect(rankOf([0.1, 0.5, 0.9], 0)).toBe(1);
    expect(rankOf([0.1, 0.5, 0.9], 2)).toBe(3);
    expect(rankOf([0.5, 0.5, 0.9], 0)).toBe(2);
    expect(rankOf([0.5, 0.5, 0.5, 0.2], 1)).toBe(4);
  });

  it('scores a model that is equally far from every title nothing', () => {
    const collapsed = new Float32Array(100).fill(3);
    const ranks = Array.from({ length: 100 }, (_, target) => rankOf(collapsed, target));
    expect(new Set(ranks)).toEqual(new Set([100]));
    expect(hitRateAt(ranks, 50)).toBe(0);
    expect(ndcgAt(ranks, 50)).toBe(0);
  });

  it('scores a model that always gives the same answer at chance over evenly spread targets', () => {
    const sameAnswer = Float64Array.from({ length: 40 }, (_, row) => row);
    const ranks = Array.from({ length: 40 }, (_, target) => rankOf(sameAnswer, target));
    expect(hitRateAt(ranks, 10)).toBe(chanceHitRateAt(40, 10));
  });

  it('refuses distances that are not finite, wherever they are', () => {
    expect(() => rankOf([0.1, Number.NaN], 0)).toThrow(expect.objectContaining({ code: 'NOT_FINITE' }));
    expect(() => rankOf([Number.POSITIVE_INFINITY, 1], 1)).toThrow('title row 0');
    expect(() => rankOf([1, 2], 2)).toThrow('title row 2');
  });

  it('ranks popularity by the same rule', () => {
    const popularity = [5, 3, 3, 1, 0, 0];
    expect([...popularityRanks(popularity)]).toEqual([1, 3, 3, 4, 6, 6]);
    const distances = popularity.map((count) => -count);
    expect([...popularityRanks(popularity)]).toEqual(popularity.map((_, row) => rankOf(distances, row)));
  });
});

describe('metrics of predictions', () => {
  const row = (text: string, rank: number, exists: boolean) => ({
    windowId: `u:${rank}`,
    targetRow: 0,
    text,
    rank,
    distance: 1,
    nearest: 0,
    exists,
    valid: text !== '',
  });

  it('count texts that exist, distinct texts and empty ones', () => {
    const metrics = predictionMetrics(
      [row('A', 1, true), row('A', 2, true), row('B', 3, false), row('', 9, false)],
      [1],
    );
    expect(metrics).toEqual({
      hr: { 1: 0.25 },
      ndcg: { 1: 0.25 },
      windows: 4,
      existingTitles: 0.5,
      distinctTexts: 3,
      invalid: 1,
    });
  });

  it('say nothing of texts where none is generated', () => {
    expect(predictionMetrics([row('A', 1, true)], [1], false)).toEqual({ hr: { 1: 1 }, ndcg: { 1: 1 }, windows: 1 });
  });
});
