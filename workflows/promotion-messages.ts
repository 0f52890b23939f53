import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { PromotionOutcome, PromotionStatus } from './promotion-state.ts';

/** Where the question stands. */
export const promotionQuery = defineQuery<PromotionStatus>('promotion');

/** A person wants the run to become current; `force` passes over the rule of the recipe. Answers with what came of it. */
export const promoteUpdate = defineUpdate<PromotionOutcome, [{ by: string; reason: string; force: boolean }]>(
  'promote',
);

/** A person does not want it. */
export const rejectUpdate = defineUpdate<PromotionOutcome, [{ by: string; reason: string }]>('reject');

/** Another run asks now: this question is withdrawn. */
export const supersededSignal = defineSignal<[{ runId: string }]>('superseded');
