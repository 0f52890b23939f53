import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { Decision, Waiting } from '../artifacts/decisions.ts';
import type { Figures, PromoteInput } from '../artifacts/releases.ts';
import type { Judgement, Opponent, PromotionRule } from '../report/judge.ts';
import type { Circumstances, EncodeTitlesParams, EvaluateParams } from './contracts.ts';

export type { Decision, Figures, Judgement, Opponent, PromotionRule };

/** A finished run that asks to become current, and what champions are tested on beside it. */
export interface Challenger {
  runId: string;
  /** Key of its release step. */
  release: string;
  /** Its predictions of the test windows, and those of popularity. */
  predictions: ArtifactRef;
  popularity: ArtifactRef;
  /** The test. */
  windows: ArtifactRef;
  items: ArtifactRef;
  titles: ArtifactRef;
  /** Who has taken this very release back, if nobody has promoted it since. */
  rolledBack: { by: string; at: string } | null;
  circumstances: Omit<Circumstances, 'shard'>;
}

/** The release that is current, as it is tested on a challenger's windows. */
export interface Champion {
  /** Of `current`. */
  number: number;
  release: string;
  adapter: ArtifactRef;
  /** The last moment from which it has learnt, in milliseconds since the epoch. */
  trainedUntilMs: number;
  /** With its own model, prompt and adapter, and in all else the challenger's settings. */
  encode: EncodeTitlesParams;
  evaluate: EvaluateParams;
}

/** Who stands against whom. */
export interface Match {
  challenger: Challenger;
  /** Null before the first promotion. */
  champion: Champion | null;
}

export interface JudgeInput {
  rule: PromotionRule;
  opponent: Opponent;
  windows: ArtifactRef;
  challenger: ArtifactRef;
  champion: ArtifactRef;
  /** Only windows whose target lies after this count; null: all of them. */
  afterMs: number | null;
}

/** `number` of `current` when the promotion has moved it; else the champion that was faster, 0 for none. */
export interface PromoteResult {
  won: boolean;
  number: number;
  release: string | null;
  /** Why the folder for servers could not be brought up to date, though `current` has moved. */
  viewFault?: string;
}

/** Activities of the light queue about `current`. */
export interface PromotionActivities {
  promoteRun(input: PromoteInput & { runId: string }): Promise<PromoteResult>;
  recordDecision(decision: Omit<Decision, 'at' | 'report'>): Promise<void>;
  /** @returns the promotion that waited for a person before this one; null for none */
  announceWaiting(waiting: Waiting): Promise<Waiting | null>;
}

/** Activities of the cpu queue: they read tables. */
export interface JudgeActivities {
  readMatch(input: { runId: string }): Promise<Match>;
  judge(input: JudgeInput): Promise<Judgement>;
}
