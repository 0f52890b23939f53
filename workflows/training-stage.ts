import type { StepResult } from '../activities/contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { maxEpochs, plannedSteps } from './run-plan.ts';
import { CARRIED_EPOCHS, type EpochRow, epochOf, type TrainingStage } from './run-state.ts';
import { markBest } from './search-attributes.ts';
import { metricOf } from './step-params.ts';
import { output, type Run, record } from './steps.ts';

/** A run in progress, or a plan of one. */
export type RunSoFar = Pick<Run, 'config' | 'state'>;

/** Whether a stage trains another epoch: below the limit, and not `patience` epochs without a better one. */
export function goesOn({ state, config }: RunSoFar, stage: TrainingStage): boolean {
  const epoch = epochOf(state[stage]);
  return epoch < maxEpochs(config, stage) && epoch - (state[stage].best?.epoch ?? 0) < config.train.patience;
}

/** Keeps the row of a whole epoch in the run's record, and the last ones in its state. */
export async function finishEpoch(
  run: Run,
  stage: TrainingStage,
  trained: StepResult<unknown>,
  row: EpochRow,
): Promise<void> {
  addEpoch(run, stage, trained, row);
  markBest(run.state);
  await record(run, 'running');
  letGoOfEpochs(run, stage);
}

/** What the record holds of epochs long past is carried no further; the plan moves on with the epochs. */
function letGoOfEpochs({ state, config }: RunSoFar, stage: TrainingStage): void {
  state[stage].rows = state[stage].rows.slice(-CARRIED_EPOCHS);
  const entered = new Map(state.steps.map((step) => [step.id, step]));
  const planned = plannedSteps(config, { sft: epochOf(state.sft), curriculum: epochOf(state.curriculum) });
  // What an early stop of the other stage has spared stays out of the plan.
  state.steps = planned.flatMap((step) => entered.get(step.id) ?? (step.stage === stage ? step : []));
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
  const { best, last } = state[stage];
  const chosen =
    config.train.select === 'last' && last ? { epoch: epochOf(state[stage]), adapter: last.adapter } : best;
  if (!chosen) throw new Error(`stage ${stage} has no epoch`);
  return chosen;
}

/** Epochs that an early stop has spared leave the plan. */
export function dropPending({ state }: Pick<Run, 'state'>, stage: TrainingStage): void {
  state.steps = state.steps.filter((step) => step.stage !== stage || step.state !== 'pending');
}
