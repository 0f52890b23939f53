import { describe, expect, it } from 'vitest';
import { addTitles, ground, l2Distance, nearestTitles, startGrounding } from '../../model/grounding.ts';

/** Titles at 0, 3, 4, 4 and 10 on a line (the second axis is 0). */
const TITLES = Float32Array.of(0, 0, 3, 0, 4, 0, 4, 0, 10, 0);
const at = (x: number) => Float32Array.of(x, 0);

describe('the rank of the target', () => {
  it('counts the titles that are nearer', () => {
    expect(ground(at(2.9), TITLES, 2, 1)).toEqual({ rank: 1, distance: expect.closeTo(0.1, 6), nearest: 1 });
    expect(ground(at(2.9), TITLES, 2, 0).rank).toBe(4);
    expect(ground(at(2.9), TITLES, 2, 4).rank).toBe(5);
  });

  it('counts ties against it, never itself', () => {
    expect(ground(at(4), TITLES, 2, 2).rank).toBe(2);
    expect(ground(at(4), TITLES, 2, 3).rank).toBe(2);
    expect(ground(at(7), TITLES, 2, 4).rank).toBe(3);
  });

  it('is the last one for a model whose titles have all collapsed into one point', () => {
    const collapsed = new Float32Array(10).fill(1);
    for (let target = 0; target < 5; target++) expect(ground(at(5), collapsed, 2, target).rank).toBe(5);
  });
});

it('names the first of equally near titles', () => {
  expect(ground(at(4), TITLES, 2, 0).nearest).toBe(2);
});

it('measures from differences: near vectors far from the origin keep their distance', () => {
  expect(l2Distance(Float32Array.of(10_000, 0), 0, Float32Array.of(7, 7, 10_000.001, 0), 1, 2)).toBeCloseTo(
    Math.fround(10_000.001) - 10_000,
    12,
  );
});

it('is the same for a catalogue that comes in chunks', () => {
  for (const target of [0, 2, 4]) {
    const open = startGrounding(at(4), TITLES.subarray(2 * target, 2 * target + 2), target);
    addTitles(open, TITLES.subarray(0, 2), 0);
    addTitles(open, TITLES.subarray(2, 8), 1);
    addTitles(open, TITLES.subarray(8), 4);
    expect(open).toMatchObject(ground(at(4), TITLES, 2, target));
  }
});

it('refuses a distance that is no number, of the target and of any other title', () => {
  const broken = TITLES.slice();
  broken[6] = Number.NaN;
  for (const target of [0, 3])
    expect(() => ground(at(4), broken, 2, target)).toThrow(expect.objectContaining({ code: 'NOT_FINITE' }));
  expect(() => ground(at(Number.POSITIVE_INFINITY), TITLES, 2, 0)).toThrow(/title row 0/);
});

describe('the nearest titles', () => {
  it('come nearest first, of equals the first row, and as many as there are', () => {
    expect(nearestTitles(at(4), TITLES, 3)).toEqual({ rows: [2, 3, 1], distances: [0, 0, 1] });
    expect(nearestTitles(at(9), TITLES, 9).rows).toEqual([4, 2, 3, 1, 0]);
    expect(nearestTitles(at(9), TITLES, 0)).toEqual({ rows: [], distances: [] });
  });

  it('leave out what is excluded, and agree with the rank where nothing ties', () => {
    expect(nearestTitles(at(4), TITLES, 2, new Set([2, 1])).rows).toEqual([3, 0]);
    const { rows } = nearestTitles(at(2.9), TITLES, 5);
    for (const target of [0, 1, 4]) expect(rows.indexOf(target) + 1).toBe(ground(at(2.9), TITLES, 2, target).rank);
  });

  it('refuse embeddings that are no numbers', () => {
    expect(() => nearestTitles(at(0), Float32Array.of(0, Number.NaN), 1)).toThrow(
      expect.objectContaining({ code: 'NOT_FINITE' }),
    );
  });
});
