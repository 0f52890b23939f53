import type { StartRecord } from '../activities/run-records.ts';
import type { Manifest } from '../artifacts/store.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { RunStatus } from '../workflows/run-state.ts';

/** A run as its records in the store tell it. */
export interface RecordedRun {
  runId: string;
  config: RunConfig;
  start: StartRecord;
  status: RunStatus;
  /** The manifest of a finished step by its id in the plan (`sft-1-train`); undefined before. */
  manifest(stepId: string): Promise<Manifest | undefined>;
  /** Text of an output of the release or the report (`metrics.json`, `report.html`); undefined before. */
  file(name: string): Promise<string | undefined>;
}

/**
 * Somewhere else that wants to know of runs. It is told the whole run again at every record; what it keeps in `cursor`
 * says what it has passed on already, whichever worker does the next report.
 */
export interface Sink<Cursor = unknown> {
  readonly name: string;
  /** @returns the cursor after the report */
  report(run: RecordedRun, cursor: Cursor | undefined, signal: AbortSignal): Promise<Cursor>;
}
