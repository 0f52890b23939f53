import type { Sources } from '../activities/contracts.ts';
import type { RunConfig } from './run-config.ts';
import type { Border } from './run-state.ts';
import { sourceNames, stepParams } from './step-params.ts';

/** The parts of a run in which two runs of a sweep may have steps in common, in the order in which they are done. */
export const SHARED_PARTS: readonly Border[] = ['encode', 'sft', 'self-distil', 1];

/**
 * The last part in which two runs have a step in common, by its number in `SHARED_PARTS`; undefined when they have none.
 * A step is the same when its parameters and those of every step before it are: what its key is made of.
 */
export function lastSharedPart(a: RunConfig, b: RunConfig): number | undefined {
  const [ofA, ofB] = [stepsByPart(a), stepsByPart(b)];
  const shared = ofA.map((steps, part) => steps.some((step, index) => step === ofB[part]?.[index]));
  const last = shared.lastIndexOf(true);
  return last < 0 ? undefined : last;
}

/** Of each part, a text for each kind of step that says all it depends on. */
function stepsByPart(config: RunConfig): string[][] {
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
  const selfDistil = textOf(sftValidate, stop, params.selfDistill());
  const distance = textOf(encode, params.measureDistance());
  const firstTrain = textOf(selfDistil, params.trainEpoch('soft', 1, 1));
  return [
    [prepare, encode],
    [sftTrain, sftValidate],
    [selfDistil],
    [distance, firstTrain, textOf(firstTrain, distance), textOf(firstTrain, encode, params.evaluate())],
  ];
}

const textOf = (...parts: unknown[]): string => JSON.stringify(parts);
