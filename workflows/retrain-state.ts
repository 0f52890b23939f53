import type { DriftReport } from '../activities/contracts.ts';
import type { SweepPlan } from './sweep-state.ts';

/** Kind of the record in the store, beside those of the run that it trains. */
export const RETRAIN_RECORD = 'retrain';

/** What became of a retrain that came to its end; a failed one has no outcome. */
export type RetrainOutcome =
  /** The challenger is current now. */
  | 'promoted'
  /** The champion stays. */
  | 'kept'
  /** A person decides, in a promotion of its own. */
  | 'waiting'
  /** There was nothing new to train on. */
  | 'skipped';

export interface RetrainInput {
  /** A recipe; parsed again, because a schedule may have been made by anything. */
  config: unknown;
  /** Name of the schedule that starts it. */
  schedule?: string;
  /** The recipe's path as the person named it. */
  recipe?: string;
  /** RFC 3339; for starts without a schedule. @default the scheduled start, else the moment of the start */
  asOf?: string;
  /** Trains the best run of a sweep instead of one run. */
  sweep?: SweepPlan;
  /** Circumstances that tests shorten. */
  heartbeatTimeoutSeconds?: number;
}

/** Where a retrain stands: answer of its `status` query, its result, and its record in the store. */
export interface RetrainStatus {
  workflowId: string;
  schedule: string | null;
  phase: 'preparing' | 'training' | 'judging' | 'ended' | 'failed';
  outcome?: RetrainOutcome;
  /** Why, in a sentence. */
  reason?: string;
  error?: { code: string; message: string };
  /** The data's cut-off: the scheduled start. */
  asOf: string;
  /** Training ends here. */
  trainUntil: string;
  /** Champion and challenger are tested on what follows, up to `asOf`. */
  testAfter?: string;
  /** Run that trains the challenger; of a sweep, the best once that is known. */
  runId: string;
  /** The sweep that looks for it. */
  sweepId?: string;
  /** Of the training windows. */
  windowsDigest?: string;
  windows?: { train: number; valid: number; test: number };
  /** Release that is current when the retrain begins. */
  champion: string | null;
  /** Release that this retrain has made. */
  challenger?: string;
  /** Release from whose adapter SFT starts; null: from a fresh one. */
  warmStart?: string | null;
  drift?: DriftReport['observed'];
  /** Why nobody could be told. */
  notifyFault?: string;
  /** Champion's and challenger's metric, gain and interval, as the judge found them. */
  figures?: Record<string, number | string | null>;
}
