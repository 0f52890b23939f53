import type { ScheduleSummary as Listed, ScheduleDescription } from '@temporalio/client';
import type { RetrainInput } from '../workflows/retrain-state.ts';
import type { SweepPlan } from '../workflows/sweep-state.ts';
import { describeTimes, fromTemporal, type Overlap } from './schedule-spec.ts';
import type { ScheduledRun } from './scheduled-runs.ts';

/** A schedule at one moment; times are ISO 8601, in UTC. */
export interface ScheduleView {
  name: string;
  recipe: string | null;
  /** The sweep that each retrain is. */
  sweep: SweepPlan | null;
  /** `0 3 * * *`, `every 6h`. */
  times: string[];
  timezone: string;
  overlap: Overlap;
  catchupSeconds: number;
  pauseOnFailure: boolean;
  paused: boolean;
  /** Why it is paused; with `pauseOnFailure` the server writes it. */
  note: string | null;
  next: string[];
  counts: { started: number; missed: number; skippedForOverlap: number };
  /** The last ten at most, newest first. */
  runs: ScheduledRun[];
}

export interface ScheduleSummary {
  name: string;
  times: string[];
  timezone: string;
  paused: boolean;
  note: string | null;
  next: string | null;
  last: { scheduledAt: string; workflowId: string } | null;
}

const NEXT_TIMES = 5;

/** @param runs newest first */
export function viewOf(
  name: string,
  { spec, policies, state, info, action }: ScheduleDescription,
  runs: ScheduledRun[],
): ScheduleView {
  const [input] = (action.args ?? []) as [RetrainInput?];
  return {
    name,
    recipe: input?.recipe ?? null,
    sweep: input?.sweep ?? null,
    times: describeTimes(spec),
    timezone: spec.timezone ?? 'UTC',
    overlap: fromTemporal(policies.overlap),
    catchupSeconds: policies.catchupWindow / 1000,
    pauseOnFailure: policies.pauseOnFailure,
    paused: state.paused,
    note: state.note ?? null,
    next: info.nextActionTimes.slice(0, NEXT_TIMES).map((time) => time.toISOString()),
    counts: {
      started: info.numActionsTaken,
      missed: info.numActionsMissedCatchupWindow,
      skippedForOverlap: info.numActionsSkippedOverlap,
    },
    runs,
  };
}

export function summaryOf({ scheduleId, spec, state, info }: Listed): ScheduleSummary {
  const last = info.recentActions.at(-1);
  return {
    name: scheduleId,
    times: spec ? describeTimes(spec) : [],
    timezone: spec?.timezone ?? 'UTC',
    paused: state.paused,
    note: state.note ?? null,
    next: info.nextActionTimes[0]?.toISOString() ?? null,
    last: last ? { scheduledAt: last.scheduledAt.toISOString(), workflowId: last.action.workflow.workflowId } : null,
  };
}
