import type { Sources } from '../activities/contracts.ts';
import type { RunConfig } from './run-config.ts';
import type { Border } from './run-state.ts';
import { sourceNames, stepParams } from './step-params.ts';

/** The parts of a run, in order, in which runs of a sweep may have steps in common; those before the race ... */
export const PARTS_BEFORE: readonly Border[] = ['encode', 'sft', 'self-distil', 1];
/** ... and that after it, for the runs that are left. */
export const PARTS_AFTER: readonly Border[] = ['test-sft'];

/**
 * The last of some parts in which two runs have a step in common, by its place among them; -1 when they have none. A step
 * is the same when its parameters and those of every step before it are: what its key is made of.
 */
export function lastSharedPart(parts: readonly Border[], a: RunConfig, b: RunConfig): number {
  const [ofA, ofB] = [stepsByPart(a), stepsByPart(b)];
  return parts.findLastIndex((part) => ofA.get(part)?.some((step, index) => step === ofB.get(part)?.[index]));
}

/** Of each part, a text for each kind of step that says all it depends on. */
function stepsByPart(config: RunConfig): Map<Border, string[]> {
  const { train, sft, evaluation } = config;
  // What is found under these names is the same for all runs of a sweep.
  const { model, ...data } = sourceNames(config);
  const sources: Sources = { model: { source: model, digest: '' }, data: { digest: JSON.stringify(data) } };
  const params = stepParams(config, sources);
  const prepare = textOf(params.prepareData());
  const encode = textOf(prepare, params.encodeTitles());
  const sftTrain = textOf(prepare, params.trainEpoch('sft', 1, 0), sft.warmStart ?? null);
  const sftValidate = textOf(encode, sftTrain, params.evaluate());
  const stop = [sft.maxEpochs ?? train.maxEpochs, train.patience, train.select, evaluation.metric];
  const chosenSft = textOf(sftValidate, stop);
  const selfDistil = textOf(chosenSft, params.selfDistill());
  const distance = textOf(encode, params.measureDistance());
  const firstTrain = textOf(selfDistil, params.trainEpoch('soft', 1, 1));
  const firstMeasured = [textOf(firstTrain, distance), textOf(firstTrain, encode, params.evaluate())];
  const popularity = textOf(prepare, params.evaluatePopularity());
  const zeroShot = evaluation.zeroShot ? [textOf(encode, params.evaluate())] : [];
  return new Map<Border, string[]>([
    ['encode', [prepare, encode]],
    ['sft', [sftTrain, sftValidate]],
    ['self-distil', [selfDistil]],
    [1, [distance, firstTrain, ...firstMeasured]],
    ['test-sft', [popularity, textOf(chosenSft), ...zeroShot]],
  ]);
}

const textOf = (...parts: unknown[]): string => JSON.stringify(parts);
