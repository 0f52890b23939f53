import * as z from 'zod';

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const DURATION = /^(\d+(?:\.\d+)?)(s|m|h|d|w)$/;

/** A length of time as people write it: `90s`, `30m`, `6h`, `7d`, `2w`. A day has 24 hours. */
export const DurationSchema = z.string().regex(DURATION, 'expected a duration such as 90s, 30m, 6h, 7d or 2w');

/** Milliseconds of a duration; undefined when the text is none. */
export function durationMs(text: string): number | undefined {
  const [, count, unit] = DURATION.exec(text) ?? [];
  return unit === undefined ? undefined : Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
}
