import type { ModelFiles, Progress, StepInput, StepResult } from './contracts.ts';
import type { Fault } from './faults.ts';

/** The trainer process as a relay sees it. It is started when a job needs it, and again after it died. */
export interface Trainer {
  /** Hands over a job and where the files of its model lie; one at a time. */
  submit(input: StepInput<unknown>, modelFiles: ModelFiles): TrainerJob;
}

export interface TrainerJob {
  /** Never rejects. */
  outcome: Promise<JobOutcome>;
  /** What the trainer said last; undefined before its first word. */
  progress(): Progress | undefined;
  /** Milliseconds since the trainer last showed a sign of life. */
  silentMs(): number;
  /** Asks for an end at the next border, everything done being written. */
  drain(): void;
  /** Ends the trainer at once, as a stalled one must be. */
  kill(): void;
}

export type JobOutcome =
  /** Null: a shard ended while tiles of other shards were missing. */
  | { kind: 'done'; result: StepResult<unknown> | null }
  | { kind: 'drained'; position: string }
  | { kind: 'failed'; fault: Fault }
  | { kind: 'died'; death: TrainerDeath };

export interface TrainerDeath {
  signal: string | null;
  exitCode: number | null;
  /** Killed by the relay, because it showed no progress. */
  stalled: boolean;
  /** Resident memory of the trainer when it was last measured. */
  rssBytes: number | null;
  /** Last lines of its error output. */
  stderr: string;
}
