import { type RunStatus, STAGES, type Stage } from '../workflows/run-state.ts';

export { STAGES };

export type StageProgress = 'done' | 'running' | 'pending';

/** Where a run stands in a stage, for every view of a run. */
export function stageState(stage: Stage, status: RunStatus): StageProgress {
  if (status.phase === 'completed') return 'done';
  const position = STAGES.indexOf(stage) - STAGES.indexOf(status.stage);
  const steps = status.steps.filter((step) => step.stage === stage);
  if (steps.some((step) => step.state === 'running')) return 'running';
  if (position < 0) return 'done';
  return position === 0 ? 'running' : 'pending';
}
