import { activityInfo } from '@temporalio/activity';
import { announceWaiting } from '../artifacts/decisions.ts';
import type { Store } from '../artifacts/store.ts';
import { checkDrift } from './check-drift.ts';
import type { LookUpInput, LookUpResult, Sources, StepInput, StepName, StepResult } from './contracts.ts';
import { cpuStep, heartbeating } from './cpu-step.ts';
import { evaluatePopularity } from './evaluate-popularity.ts';
import { toFailure } from './failures.ts';
import { findProducer, type Lost, type Producer } from './find-producer.ts';
import { lookUpStep } from './look-up-step.ts';
import { notify } from './notify.ts';
import { prepareData } from './prepare-data.ts';
import { judge, noteDecision, promote } from './promotion.ts';
import type { JudgeActivities, PromotionActivities } from './promotion-contracts.ts';
import { readChampion } from './read-champion.ts';
import { readMatch } from './read-match.ts';
import { relay } from './relay.ts';
import { release } from './release.ts';
import { withWholeRun } from './release-run.ts';
import { renderReport } from './render-report.ts';
import { checkReplacements, contractVersions, type Replacements } from './replace.ts';
import { type Places, type SourceNames, sourceResolver } from './resolve-sources.ts';
import type { LongRetrainActivities, RetrainActivities } from './retrain-contracts.ts';
import { type RunRecord, recordRetrain, recordRun, recordSweep, type SweepRecord } from './run-records.ts';
import type { StepBody } from './step-contracts.ts';
import { onDevice, type TensorWorker } from './tensor-worker.ts';
import type { Trainer } from './trainer.ts';

export interface ActivityDeps {
  store: Store;
  /** Starts the trainer process when the first tensor step arrives. */
  trainer: Trainer;
  places: Places;
  /** Told of every record of a run that is written, with all that it says; never rejects. */
  recorded?: (runId: string, status: unknown) => Promise<void>;
  /** Who computes the tensor steps. */
  tensorWorker: TensorWorker;
}

/** Short activities of the workflow's own queue. */
export interface LightActivities extends PromotionActivities, RetrainActivities {
  lookUpStep(input: LookUpInput): Promise<LookUpResult>;
  recordRun(record: RunRecord): Promise<void>;
  recordSweep(record: SweepRecord): Promise<void>;
  findProducer(lost: Lost & { run?: string }): Promise<Producer | null>;
}

/** Activities that may have to read or fetch whole files. */
export interface LongActivities extends JudgeActivities, LongRetrainActivities {
  resolveSources(names: SourceNames): Promise<Sources>;
}

/** One activity a step; null only from a shard that ended while tiles of others were missing. */
export type StepActivities = Record<StepName, (input: StepInput<unknown>) => Promise<StepResult<unknown> | null>>;

export type Activities = LightActivities & LongActivities & StepActivities;

/** What a worker of the workflow's own queue serves, and what one of the cpu queue serves besides its steps. */
export const LIGHT_ACTIVITIES = [
  'lookUpStep',
  'recordRun',
  'recordSweep',
  'findProducer',
  'promoteRun',
  'recordDecision',
  'announceWaiting',
  'recordRetrain',
] as const satisfies readonly (keyof LightActivities)[];
export const LONG_ACTIVITIES = [
  'resolveSources',
  'readMatch',
  'judge',
  'readChampion',
  'checkDrift',
  'notify',
] as const satisfies readonly (keyof LongActivities)[];

/**
 * Every activity of softflow over its dependencies; a worker runs those of the queues that it serves.
 *
 * @param replace activities of your own in the place of softflow's, see `Replacements`
 * @throws SoftflowError `REPLACEMENT_INVALID`
 */
export function createActivities(deps: ActivityDeps, replace: Replacements = {}): Activities {
  const activities = ownActivities(deps, contractVersions(replace));
  checkReplacements(replace, Object.keys(activities));
  return { ...activities, ...replacedActivities(deps.store, replace) };
}

function ownActivities(
  { store, trainer, places, tensorWorker, recorded }: ActivityDeps,
  versions: Record<StepName, number>,
): Activities {
  const relayDeps = { store, trainer, worker: tensorWorker.identity, modelFiles: places.modelFiles };
  const tensorStep = (input: StepInput<unknown>) =>
    onDevice(tensorWorker, activityInfo().currentAttemptScheduledTimestampMs, (use) => relay(relayDeps, input, use));
  return {
    lookUpStep: failing(async (input) => lookUpStep(store, await withWholeRun(store, input), versions)),
    recordRun: failing(async (record) => {
      await recorded?.(record.runId, await recordRun(store, record));
    }),
    recordSweep: failing((record) => recordSweep(store, record)),
    findProducer: failing((lost) => findProducer(store, lost)),
    promoteRun: failing((input) => promote(store, input)),
    recordDecision: failing((decision) => noteDecision(store, decision)),
    announceWaiting: failing(async (waiting) => (await announceWaiting(store, waiting)) ?? null),
    recordRetrain: failing((record) => recordRetrain(store, record)),
    resolveSources: sourceResolver(places, store),
    readMatch: long((input) => readMatch(store, input)),
    judge: long((input) => judge(store, input)),
    readChampion: long(({ settings }) => readChampion(store, settings)),
    checkDrift: long((input) => checkDrift(store, input)),
    notify: long((input) => notify(input)),
    prepareData: cpuStep(store, 'prepareData', prepareData(places)),
    encodeTitles: tensorStep,
    trainEpoch: tensorStep,
    selfDistill: tensorStep,
    measureDistance: tensorStep,
    evaluate: tensorStep,
    evaluatePopularity: cpuStep(store, 'evaluatePopularity', evaluatePopularity),
    release: failing(async (input) => cpuStep(store, 'release', release)(await withWholeRun(store, input))),
    renderReport: cpuStep(store, 'renderReport', renderReport),
  };
}

function replacedActivities(store: Store, replace: Replacements): Partial<Activities> {
  const replaced = Object.entries(replace).map(([name, replacement]) => {
    if (typeof replacement === 'function') return [name, failing(replacement as (input: unknown) => Promise<unknown>)];
    const { compute, contractVersion } = replacement;
    return [name, cpuStep(store, name as StepName, compute as StepBody<StepName>, contractVersion)];
  });
  return Object.fromEntries(replaced) as Partial<Activities>;
}

/** As `failing`, with a heartbeat while it works. */
function long<Input, Output>(work: (input: Input) => Promise<Output>): (input: Input) => Promise<Output> {
  return failing((input) => heartbeating(() => work(input)));
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
