import type { StepName } from '../activities/contracts.ts';
import type { RunConfig } from './run-config.ts';
import type { Stage, StepStatus } from './run-state.ts';

/** Every step that a run of this config may take, in order. Early stop takes fewer epochs. */
export function plannedSteps(config: RunConfig): StepStatus[] {
  const sftEpochs = config.sft.maxEpochs ?? config.train.maxEpochs;
  const rounds = config.soft.maxEpochs ?? config.train.maxEpochs;
  return [
    step('prepare', 'prepare', 'prepareData', 'Prepare data'),
    step('encode', 'encode', 'encodeTitles', 'Encode titles'),
    ...epochs(sftEpochs).flatMap((epoch) => [
      step(`sft-${epoch}-train`, 'sft', 'trainEpoch', `SFT epoch ${epoch}: train`),
      step(`sft-${epoch}-validate`, 'sft', 'evaluate', `SFT epoch ${epoch}: validate`),
    ]),
    step('self-distil', 'self-distil', 'selfDistill', 'Self-distil'),
    step('soft-0-distance', 'curriculum', 'measureDistance', 'Curriculum: initial distance'),
    ...epochs(rounds).flatMap((epoch) => [
      step(`soft-${epoch}-train`, 'curriculum', 'trainEpoch', `SOFT round ${epoch}: train`),
      step(`soft-${epoch}-distance`, 'curriculum', 'measureDistance', `SOFT round ${epoch}: distance`),
      step(`soft-${epoch}-validate`, 'curriculum', 'evaluate', `SOFT round ${epoch}: validate`),
    ]),
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

function epochs(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function step(id: string, stage: Stage, name: StepName, label: string): StepStatus {
  return { id, stage, step: name, label, state: 'pending' };
}
