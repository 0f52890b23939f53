import type { AuditRow } from '../artifacts/decisions.ts';
import type { RunLook } from '../client/runs.ts';

/** A schedule as the page shows it; times are ISO 8601, in UTC. */
export interface ScheduleLine {
  name: string;
  times: string[];
  timezone: string;
  paused: boolean;
  note: string | null;
  next: string | null;
  last: { scheduledAt: string; workflowId: string } | null;
}

/** What the page shows, asked for anew each time. */
export interface UiSource {
  /** Ids of all runs, newest first. */
  list(): Promise<string[]>;
  /** @throws SoftflowError `RUN_NOT_FOUND` */
  look(runId: string): Promise<RunLook>;
  /** A file of a run's report or release. @throws SoftflowError `RUN_UNFINISHED` */
  file(runId: string, path: string): Promise<Uint8Array>;
  /** Undefined while no server answers: schedules live there alone. */
  schedules(): Promise<ScheduleLine[] | undefined>;
  /** Every move of `current` and every decision that left it where it is, oldest first. */
  releases(): Promise<AuditRow[]>;
}
