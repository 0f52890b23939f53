import type { AuditRow } from '../artifacts/decisions.ts';
import type { RunLook } from '../client/runs.ts';
import type { ScheduleSummary } from '../client/schedule-view.ts';
import type { SweepLook } from '../client/sweeps.ts';

/** What the page shows, asked for anew each time. */
export interface UiSource {
  /** Ids of all runs, newest first. */
  list(): Promise<string[]>;
  /** @throws SoftflowError `RUN_NOT_FOUND` */
  look(runId: string): Promise<RunLook>;
  /** A file of a run's report or release. @throws SoftflowError `RUN_UNFINISHED` */
  file(runId: string, path: string): Promise<Uint8Array>;
  /** The newest ones at most, newest first. */
  sweeps(most: number): Promise<SweepLook[]>;
  /** Undefined while no server answers: schedules live there alone. */
  schedules(): Promise<ScheduleSummary[] | undefined>;
  /** Every move of `current` and every decision that left it where it is, oldest first. */
  releases(): Promise<AuditRow[]>;
}
