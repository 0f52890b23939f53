import type { ScheduleDescription, ScheduleOverlapPolicy, ScheduleSpec } from '@temporalio/client';
import { SoftflowError } from '../errors.ts';
import { givenSplit } from '../workflows/data-config.ts';
import { durationMs } from '../workflows/duration.ts';
import type { RunConfig } from '../workflows/run-config.ts';

/** What happens to a start while an earlier retrain is at work; the words of the command line. */
export const OVERLAPS = ['skip', 'buffer-one', 'buffer-all', 'cancel-other', 'terminate-other', 'allow-all'] as const;
export type Overlap = (typeof OVERLAPS)[number];

/** When a schedule starts; either `cron` or `every`. */
export interface ScheduleTimes {
  /** Five fields: `0 3 * * *`. */
  cron?: string;
  /** A duration: `6h`. */
  every?: string;
  /** IANA name: `Europe/Berlin`. */
  timezone?: string;
}

export interface SchedulePolicies {
  overlap?: Overlap;
  /** How late a start that was missed (the server was down) is still made up for: `6h`. */
  catchup?: string;
  pauseOnFailure?: boolean;
}

/** Temporal's own default is a year: after an outage that would start every night of it at once. */
const DEFAULT_CATCHUP = '6h';
const NAME = /^[a-z0-9][a-z0-9._-]{0,39}$/;

/** Run ids begin with the name, and a run id has 64 characters at most. @throws SoftflowError `SCHEDULE_INVALID` */
export function requireScheduleName(name: string): string {
  if (NAME.test(name)) return name;
  throw invalid(
    `expected a name of at most 40 lower-case letters, digits, dots, dashes and underscores, got "${name.slice(0, 80)}"`,
  );
}

/** A retrain trains up to a moment and tests after it. @throws SoftflowError `SCHEDULE_INVALID` */
export function requireSplitByTime({ data }: RunConfig): void {
  const given = givenSplit(data.source);
  if (given.length === 0) return;
  throw invalid(
    `a retrain splits the data by time, but data.source.${given.join('.')} gives it a split of its own; leave that out`,
  );
}

/** @throws SoftflowError `SCHEDULE_INVALID` */
export function compileSpec({ cron, every, timezone = 'UTC' }: ScheduleTimes): ScheduleSpec {
  requireTimezone(timezone);
  if ((cron === undefined) === (every === undefined)) throw invalid('expected either --cron or --every');
  if (every !== undefined) return { intervals: [{ every: requireDuration('--every', every) }], timezone };
  const fields = (cron as string).trim();
  if (fields.split(/\s+/).length !== 5 || fields.includes('#'))
    throw invalid(`expected a cron expression of five fields such as "0 3 * * *", got "${fields.slice(0, 80)}"`);
  // The server keeps calendars and not the text; the comment shows it wherever the schedule is looked at.
  return { cronExpressions: [`${fields} # ${fields}`], timezone };
}

/** @throws SoftflowError `SCHEDULE_INVALID` */
export function compilePolicies({
  overlap = 'skip',
  catchup = DEFAULT_CATCHUP,
  pauseOnFailure = false,
}: SchedulePolicies) {
  return {
    overlap: toTemporal(overlap),
    catchupWindow: requireDuration('--catchup', catchup, 10_000),
    pauseOnFailure,
  };
}

/** The times in words: `0 3 * * *`, `every 6h`. */
export function describeTimes({ calendars = [], intervals = [] }: ScheduleDescription['spec']): string[] {
  return [
    ...calendars.map(({ comment }) => comment ?? 'calendar (see the Temporal UI)'),
    ...intervals.map(({ every }) => `every ${every / 1000} s`),
  ];
}

export function toTemporal(overlap: Overlap): NonNullable<ScheduleOverlapPolicy> {
  return overlap.toUpperCase().replace('-', '_') as NonNullable<ScheduleOverlapPolicy>;
}

export function fromTemporal(overlap: ScheduleOverlapPolicy): Overlap {
  return (overlap ?? 'SKIP').toLowerCase().replace('_', '-') as Overlap;
}

/** An instant of `backfill`. @throws SoftflowError `SCHEDULE_INVALID` */
export function requireInstant(option: string, text: string): Date {
  const instant = new Date(text);
  if (/^\d{4}-\d\d-\d\d(T.*(Z|[+-]\d\d:\d\d))?$/.test(text) && !Number.isNaN(instant.getTime())) return instant;
  throw invalid(
    `expected ${option} to be a date (2026-11-01) or an instant (2026-11-01T03:00:00Z), got "${text.slice(0, 80)}"`,
  );
}

export function invalid(message: string, cause?: unknown): SoftflowError {
  return new SoftflowError('SCHEDULE_INVALID', `The schedule: ${message}. See \`softflow schedule --help\`.`, {
    cause,
  });
}

function requireDuration(option: string, text: string, leastMs = 1000): number {
  const ms = durationMs(text);
  if (ms !== undefined && ms >= leastMs) return ms;
  throw invalid(
    `expected ${option} to be a duration of at least ${leastMs / 1000}s such as 6h or 7d, got "${text.slice(0, 80)}"`,
  );
}

function requireTimezone(name: string): void {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
  } catch (cause) {
    throw invalid(`expected a time zone such as Europe/Berlin, got "${name.slice(0, 80)}"`, cause);
  }
}

/** Checked before the server is asked, so that a wrong option changes nothing. */
export function compileChange(change: Partial<ScheduleTimes & SchedulePolicies>) {
  const { cron, every, timezone, overlap, catchup, pauseOnFailure } = change;
  const times = cron !== undefined || every !== undefined ? compileSpec(change) : undefined;
  if (!times && timezone !== undefined) compileSpec({ every: '1d', timezone });
  const { overlap: overlapPolicy, catchupWindow } = compilePolicies({
    ...(overlap ? { overlap } : {}),
    ...(catchup ? { catchup } : {}),
  });
  return {
    spec: (previous: ScheduleSpec): ScheduleSpec => {
      const zone = timezone ?? previous.timezone;
      return { ...(times ?? previous), ...(zone === undefined ? {} : { timezone: zone }) };
    },
    policies: {
      ...(overlap ? { overlap: overlapPolicy } : {}),
      ...(catchup ? { catchupWindow } : {}),
      ...(pauseOnFailure === undefined ? {} : { pauseOnFailure }),
    },
  };
}
