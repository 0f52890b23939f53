import { expect, test } from 'vitest';
import { DurationSchema, durationMs } from '../../workflows/duration.ts';

test.each([
  ['90s', 90_000],
  ['30m', 1_800_000],
  ['1.5h', 5_400_000],
  ['7d', 604_800_000],
  ['2w', 1_209_600_000],
])('%s has %i milliseconds', (text, ms) => {
  expect(durationMs(text)).toBe(ms);
  expect(DurationSchema.safeParse(text).success).toBe(true);
});

test.each(['', '7', 'd', '-1d', '1 d', '1y', '1d2h', '٣d', 'Infinitys'])('%j is none', (text) => {
  expect(durationMs(text)).toBeUndefined();
  expect(DurationSchema.safeParse(text).success).toBe(false);
});
