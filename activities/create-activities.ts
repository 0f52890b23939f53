import type { Store } from '../artifacts/store.ts';
import type { LookUpInput, LookUpResult, Sources, StepInput, StepName, StepResult } from './contracts.ts';
import { cpuStep } from './cpu-step.ts';
import { evaluatePopularity } from './evaluate-popularity.ts';
import { toFailure } from './failures.ts';
import { lookUpStep } from './look-up-step.ts';
import { prepareData } from './prepare-data.ts';
import { relay } from './relay.ts';
import { release } from './release.ts';
import { renderReport } from './render-report.ts';
import { type Places, type SourceNames, sourceResolver } from './resolve-sources.ts';
import { type RunRecord, recordRun } from './run-records.ts';
import type { Trainer } from './trainer.ts';

export interface ActivityDeps {
  store: Store;
  /** Starts the trainer process when the first tensor step arrives. */
  trainer: Trainer;
  places: Places;
}

/** Short activities of the workflow's own queue. */
export interface LightActivities {
  lookUpStep(input: LookUpInput): Promise<LookUpResult>;
  recordRun(record: RunRecord): Promise<void>;
}

/** Activities that may have to read or fetch whole files. */
export interface LongActivities {
  resolveSources(names: SourceNames): Promise<Sources>;
}

/** One activity a step; null only from a shard that ended while tiles of others were missing. */
export type StepActivities = Record<StepName, (input: StepInput<unknown>) => Promise<StepResult<unknown> | null>>;

export type Activities = LightActivities & LongActivities & StepActivities;

/** Every activity of softflow over its dependencies; a worker runs those of the queues that it serves. */
export function createActivities({ store, trainer, places }: ActivityDeps): Activities {
  const tensorStep = (input: StepInput<unknown>) => relay({ store, trainer }, input);
  return {
    lookUpStep: failing((input) => lookUpStep(store, input)),
    recordRun: failing((record) => recordRun(store, record)),
    resolveSources: sourceResolver(places),
    prepareData: cpuStep(store, prepareData(places)),
    encodeTitles: tensorStep,
    trainEpoch: tensorStep,
    selfDistill: tensorStep,
    measureDistance: tensorStep,
    evaluate: tensorStep,
    evaluatePopularity: cpuStep(store, evaluatePopularity),
    release: cpuStep(store, release),
    renderReport: cpuStep(store, renderReport),
  };
}

/** Errors come out as Temporal failures with their code. */
function failing<Input, Output>(work: (input: Input) => Promise<Output>): (input: Input) => Promise<Output> {
  return async (input) => {
    try {
      return await work(input);
    } catch (error) {
      throw toFailure(error);
    }
  };
}
