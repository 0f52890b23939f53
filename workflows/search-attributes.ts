import type { SearchAttributePair } from '@temporalio/common';
import { upsertSearchAttributes, workflowInfo } from '@temporalio/workflow';
import { ATTRIBUTES, NAMES } from './attribute-names.ts';
import type { SoftState, Stage } from './run-state.ts';

/**
 * Whether the run was started with our attributes, which is only done where the server knows them: to set one that it does
 * not know would stop the workflow for ever.
 */
function isMarked(): boolean {
  return workflowInfo().typedSearchAttributes.get(ATTRIBUTES.stage) !== undefined;
}

export function markStage(stage: Stage): void {
  if (isMarked()) upsertSearchAttributes([{ key: ATTRIBUTES.stage, value: stage }]);
}

/** The best validation HR@10 of all whole epochs; nothing when 10 is not among `evaluation.ks`. */
export function markBest({ sft, curriculum }: Pick<SoftState, 'sft' | 'curriculum'>): void {
  const rates = [...sft.rows, ...curriculum.rows].flatMap(({ validation }) => validation.hr['10'] ?? []);
  if (rates.length === 0 || !isMarked()) return;
  const before = workflowInfo().typedSearchAttributes.get(ATTRIBUTES.bestHr10) ?? 0;
  upsertSearchAttributes([{ key: ATTRIBUTES.bestHr10, value: Math.max(before, ...rates) }]);
}

/** Our attributes of this workflow, for a run that it starts. */
export function ownAttributes(): { typedSearchAttributes?: SearchAttributePair[] } {
  const own = workflowInfo()
    .typedSearchAttributes.getAll()
    .filter(({ key }) => NAMES.has(key.name));
  return own.length > 0 ? { typedSearchAttributes: own } : {};
}
