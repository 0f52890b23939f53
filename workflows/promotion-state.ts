import type { Decision, Figures, Judgement } from '../activities/promotion-contracts.ts';

/** What came of the question whether a run becomes current. */
export interface PromotionOutcome {
  decision: Decision['decision'];
  /** Why, in a sentence. */
  why: string;
  runId: string;
  release: string;
  /** The release that it stood against; null: there was none. The same as `release` when that is current already. */
  champion: string | null;
  /** Number of `current` that the promotion made. */
  number: number | null;
  judgement: Judgement | null;
  /** Why the folder for servers could not be brought up to date, though `current` has moved. */
  viewFault?: string;
}

/** What a person answers, or what answers in their place. */
export type Answer =
  | { kind: 'promote'; by: string; reason: string; force: boolean }
  | { kind: 'reject'; by: string; reason: string }
  | { kind: 'superseded'; by: string }
  | { kind: 'timeout' };

/** A challenger that has passed the rule, as a person is asked about it. */
export interface Question {
  release: string;
  champion: string | null;
  why: string;
  metrics: Figures;
}

/** Answer of the `promotion` query. */
export interface PromotionStatus {
  runId: string;
  phase: 'waiting' | 'deciding' | 'ended';
  question: Question | null;
  /** How often the waiting decision was called to mind. */
  reminders: number;
  outcome: PromotionOutcome | null;
}

/** Id of the workflow that waits for a person's decision about a run. */
export const promotionId = (runId: string): string => `promotion-${runId}`;

/** The figures of a judgement as they stand in the audit table. */
export function figuresOf(judgement: Judgement | null): Figures {
  if (!judgement) return {};
  const { gain, why: _, promote: __, ...figures } = judgement;
  return { ...figures, gain: gain?.mean ?? null, low: gain?.low ?? null, high: gain?.high ?? null };
}
