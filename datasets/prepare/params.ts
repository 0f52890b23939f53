import type { TitleOptions } from '../titles.ts';
import type { TimeUnit } from './interactions.ts';

/** What decides the prepared data besides the source; the same shape as `data` in the run config, plus the seed. */
export interface PrepareParams {
  /** RFC 3339, like the other instants: only interactions at or before it. */
  asOf?: string;
  /** Column of arrival times. */
  knownAt?: string;
  /** Targets of train and validation windows lie at or before it, and what follows cannot change them. */
  trainUntil?: string;
  /** Targets of test windows lie after it; `trainUntil` when left out. */
  testAfter?: string;
  title: TitleOptions;
  timeUnit: TimeUnit;
  ratingMin: number | null;
  kCore: number;
  historyLength: number;
  split: { train: number; valid: number };
  samples: { train: number; valid: number; test: number };
  /** Share of unreadable rows above which preparation fails. */
  maxBadRows: number;
  seed: number;
}

/** `trainUntil` and `testAfter` in Unix milliseconds. */
export interface Period {
  trainUntilMs: number;
  testAfterMs: number;
}

/** Undefined when windows are split by share alone. */
export function periodOf({ trainUntil, testAfter }: PrepareParams): Period | undefined {
  if (trainUntil === undefined) return undefined;
  return { trainUntilMs: Date.parse(trainUntil), testAfterMs: Date.parse(testAfter ?? trainUntil) };
}
