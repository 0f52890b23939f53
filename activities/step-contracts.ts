import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { Store } from '../artifacts/store.ts';
import type {
  DistanceResult,
  EncodeTitlesParams,
  EncodeTitlesResult,
  EvaluateParams,
  EvaluatePopularityParams,
  MeasureDistanceParams,
  Metrics,
  PrepareDataParams,
  PrepareDataResult,
  Progress,
  ReleaseParams,
  ReleaseResult,
  RenderReportParams,
  SelfDistillParams,
  SelfDistillResult,
  StepInput,
  StepName,
  TrainEpochParams,
  TrainEpochResult,
} from './contracts.ts';

interface Roles {
  inputs: readonly string[];
  /** Inputs that a step may go without. */
  optional: readonly string[];
  outputs: readonly string[];
}

/** What each step reads and writes, by role; `docs/activities.md` says what is in each. */
export const STEP_ROLES = {
  prepareData: {
    inputs: [],
    optional: [],
    outputs: ['interactions', 'items', 'titles', 'windowsTrain', 'windowsValid', 'windowsTest', 'card'],
  },
  encodeTitles: { inputs: ['titles'], optional: [], outputs: ['embeddings'] },
  trainEpoch: {
    inputs: ['windows', 'items'],
    optional: ['distilled', 'state', 'warmStart'],
    outputs: ['state', 'adapter'],
  },
  selfDistill: { inputs: ['windows', 'items', 'titles', 'adapter'], optional: [], outputs: ['distilled'] },
  measureDistance: {
    inputs: ['windows', 'items', 'titles', 'embeddings'],
    optional: ['adapter'],
    outputs: ['distances'],
  },
  evaluate: { inputs: ['windows', 'items', 'titles', 'embeddings'], optional: ['adapter'], outputs: ['predictions'] },
  evaluatePopularity: { inputs: ['windows', 'items', 'titles'], optional: [], outputs: ['predictions'] },
  release: {
    inputs: ['sftAdapter', 'softAdapter'],
    optional: [],
    outputs: [
      'metrics.json',
      'lineage.json',
      'adapter/adapter_config.json',
      'adapter/adapter_model.safetensors',
      'adapter/README.md',
    ],
  },
  renderReport: { inputs: [], optional: [], outputs: ['report.html', 'summary.json', 'telemetry.json', 'run.json'] },
} as const satisfies Record<StepName, Roles>;

/** What decides a step's result besides its inputs. */
export interface StepParams {
  prepareData: PrepareDataParams;
  encodeTitles: EncodeTitlesParams;
  trainEpoch: TrainEpochParams;
  selfDistill: SelfDistillParams;
  measureDistance: MeasureDistanceParams;
  evaluate: EvaluateParams;
  evaluatePopularity: EvaluatePopularityParams;
  release: ReleaseParams;
  renderReport: RenderReportParams;
}

/** Small numbers and words that a step gives to the workflow. */
export interface StepResults {
  prepareData: PrepareDataResult;
  encodeTitles: EncodeTitlesResult;
  trainEpoch: TrainEpochResult;
  selfDistill: SelfDistillResult;
  measureDistance: DistanceResult;
  evaluate: Metrics;
  evaluatePopularity: Metrics;
  release: ReleaseResult;
  renderReport: null;
}

type Role<Step extends StepName, Kind extends keyof Roles> = (typeof STEP_ROLES)[Step][Kind][number];

/** The artifacts that a step is handed, by role. */
export type StepInputs<Step extends StepName> = Record<Role<Step, 'inputs'>, ArtifactRef> &
  Partial<Record<Role<Step, 'optional'>, ArtifactRef>>;

/** The artifacts that a step makes, by role; a release may add files. */
export type StepOutputs<Step extends StepName> = Record<Role<Step, 'outputs'>, ArtifactRef>;

/**
 * What a step computes when it runs in the worker itself: its outputs are in the store when it returns. `report` makes the
 * heartbeat; `cancellationSignal()` of `@temporalio/activity` tells when to end early.
 */
export type StepBody<Step extends StepName> = (
  store: Store,
  input: StepInput<StepParams[Step]> & { inputs: StepInputs<Step> },
  report: (progress: Progress) => void,
) => Promise<{ outputs: StepOutputs<Step>; result: StepResults[Step] }>;
