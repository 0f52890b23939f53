import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { curriculumLambda, requireInitialDistance } from '../../workflows/curriculum.ts';

test('lambda is 1 at the beginning and wherever nothing has come nearer', () => {
  expect(curriculumLambda(10, 4, 4)).toBe(1);
  expect(curriculumLambda(10, 5, 4)).toBe(1);
  expect(curriculumLambda(0, 1, 4)).toBe(1);
});

test('lambda is exp(curriculumAlpha (d_t / d_0 - 1)), worked out by hand', () => {
  // 10 * (30 / 40 - 1) = -2.5
  expect(curriculumLambda(10, 30, 40)).toBeCloseTo(0.0820849986, 10);
  // 1 * (10 / 40 - 1) = -0.75
  expect(curriculumLambda(1, 10, 40)).toBeCloseTo(0.4723665527, 10);
});

test('lambda falls with the distance and with the pace, and stays a weight', () => {
  const distance = fc.double({ min: 0, max: 100, noNaN: true });
  const alpha = fc.double({ min: 0, max: 100, noNaN: true });
  void fc.assert(
    fc.property(alpha, distance, distance, (a, d, e) => {
      const [near, far] = [Math.min(d, e), Math.max(d, e)];
      const lambda = curriculumLambda(a, near, 50);
      expect(lambda).toBeLessThanOrEqual(curriculumLambda(a, far, 50));
      expect(lambda).toBeGreaterThanOrEqual(0);
      expect(lambda).toBeLessThanOrEqual(1);
    }),
  );
});

test('a distance that is not finite, and a d_0 of 0, are errors with a code', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1])
    expect(() => curriculumLambda(1, value, 4)).toThrowError(expect.objectContaining({ code: 'DISTANCE_NOT_FINITE' }));
  expect(() => requireInitialDistance(Number.NaN)).toThrowError(
    expect.objectContaining({ code: 'DISTANCE_NOT_FINITE' }),
  );
  expect(() => requireInitialDistance(0)).toThrowError(expect.objectContaining({ code: 'DISTANCE_ZERO' }));
});
