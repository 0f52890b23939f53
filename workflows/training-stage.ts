import type { StepResult } from '../activities/contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { EpochRow } from './run-state.ts';
import { markBest } from './search-attributes.ts';
import { metricOf } from './step-params.ts';
import { output, type Run, record } from './steps.ts';

/** The two stages that train an adapter, epoch by epoch. */
export type TrainingStage = 'sft' | 'curriculum';
/** A run in progress, or a plan of one. */
export type RunSoFar = Pick<Run, 'config' | 'state'>;

/** Whether a stage trains another epoch: below the limit, and not `patience` epochs without a better one. */
export function goesOn({ state, config }: RunSoFar, stage: TrainingStage): boolean {
  const { rows, best } = state[stage];
  const { maxEpochs = config.train.maxEpochs } = stage === 'sft' ? config.sft : config.soft;
  return rows.length < maxEpochs && rows.length - (best?.epoch ?? 0) < config.train.patience;
}

/** Keeps the row of a whole epoch in the run's state and in its record. */
export async function finishEpoch(
  run: Run,
  stage: TrainingStage,
  trained: StepResult<unknown>,
  row: EpochRow,
): Promise<void> {
  addEpoch(run, stage, trained, row);
  markBest(run.state);
  await record(run, 'running');
}

/** Keeps the row of a whole epoch, and the best epoch so far; ties go to the earliest. */
export function addEpoch(run: RunSoFar, stage: TrainingStage, trained: StepResult<unknown>, row: EpochRow): void {
  const progress = run.state[stage];
  const value = validationOf(run, row);
  const adapter = output(trained, 'adapter');
  progress.rows.push(row);
  progress.last = { state: output(trained, 'state'), adapter };
  if (!progress.best || value > progress.best.value) progress.best = { epoch: row.epoch, value, adapter };
}

/** The metric on which early stop looks. */
export function validationOf({ config }: Pick<Run, 'config'>, { validation }: EpochRow): number {
  const { kind, k } = metricOf(config.evaluation.metric);
  return validation[kind][k] as number;
}

/** The epoch that a stage hands on: the best, or the last if the config says so. */
export function chosenEpoch(
  { state, config }: RunSoFar,
  stage: TrainingStage,
): { epoch: number; adapter: ArtifactRef } {
  const { rows, best, last } = state[stage];
  const chosen = config.train.select === 'last' && last ? { epoch: rows.length, adapter: last.adapter } : best;
  if (!chosen) throw new Error(`stage ${stage} has no epoch`);
  return chosen;
}

/** Epochs that an early stop has spared leave the plan. */
export function dropPending({ state }: Pick<Run, 'state'>, stage: TrainingStage): void {
  state.steps = state.steps.filter((step) => step.stage !== stage || step.state !== 'pending');
}
