import type { StepName } from '../activities/contracts.ts';
import type { RunConfig } from './run-config.ts';
import { CARRIED_EPOCHS, type Stage, type StepStatus, type TrainingStage } from './run-state.ts';

/** Where the training stages stand in the beginning. */
export const NO_EPOCHS: Record<TrainingStage, number> = { sft: 0, curriculum: 0 };

/**
 * The steps that a run of this config may take, in order. Early stop takes fewer epochs.
 *
 * @param around the last whole epoch of each training stage: of these only the steps of the epochs near it
 */
export function plannedSteps(config: RunConfig, around?: Record<TrainingStage, number>): StepStatus[] {
  const sftEpochs = epochs(1, maxEpochs(config, 'sft'), around?.sft);
  const rounds = epochs(0, maxEpochs(config, 'curriculum'), around?.curriculum);
  return [
    step('prepare', 'prepare', 'prepareData', 'Prepare data'),
    step('encode', 'encode', 'encodeTitles', 'Encode titles'),
    ...sftEpochs.flatMap((epoch) => [
      step(`sft-${epoch}-train`, 'sft', 'trainEpoch', `SFT epoch ${epoch}: train`),
      step(`sft-${epoch}-validate`, 'sft', 'evaluate', `SFT epoch ${epoch}: validate`),
    ]),
    step('self-distil', 'self-distil', 'selfDistill', 'Self-distil'),
    ...rounds.flatMap(roundSteps),
    step('test-popularity', 'test', 'evaluatePopularity', 'Test: popularity'),
    ...(config.evaluation.zeroShot ? [step('test-zeroShot', 'test', 'evaluate', 'Test: base model')] : []),
    step('test-sft', 'test', 'evaluate', 'Test: SFT'),
    step('test-soft', 'test', 'evaluate', 'Test: SOFT'),
    step('release', 'release', 'release', 'Release'),
    step('report', 'report', 'renderReport', 'Report'),
  ];
}

/** The first and the last of the steps that a name stands for: those of a stage, or a single one by its id. */
export function stepsNamed(config: RunConfig, name: string): { first: string; last: string } | undefined {
  const named = plannedSteps(config).filter(({ id, stage }) => id === name || stage === name);
  const [first, last] = [named[0], named.at(-1)];
  return first && last && { first: first.id, last: last.id };
}

export function maxEpochs({ sft, soft, train }: RunConfig, stage: TrainingStage): number {
  return (stage === 'sft' ? sft : soft).maxEpochs ?? train.maxEpochs;
}

/** Round 0 is the model before the first one. */
function roundSteps(round: number): StepStatus[] {
  if (round === 0) return [step('soft-0-distance', 'curriculum', 'measureDistance', 'Curriculum: initial distance')];
  return [
    step(`soft-${round}-train`, 'curriculum', 'trainEpoch', `SOFT round ${round}: train`),
    step(`soft-${round}-distance`, 'curriculum', 'measureDistance', `SOFT round ${round}: distance`),
    step(`soft-${round}-validate`, 'curriculum', 'evaluate', `SOFT round ${round}: validate`),
  ];
}

function epochs(first: number, last: number, around?: number): number[] {
  const from = around === undefined ? first : Math.max(first, around - CARRIED_EPOCHS);
  const to = around === undefined ? last : Math.min(last, around + CARRIED_EPOCHS);
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function step(id: string, stage: Stage, name: StepName, label: string): StepStatus {
  return { id, stage, step: name, label, state: 'pending' };
}
