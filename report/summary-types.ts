import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { CurriculumRow, ItemRow, PredictionRow, TitleRow, WindowRow } from '../datasets/schemas.ts';
import type { Difference, Interval } from './bootstrap.ts';
import type { Metrics } from './metrics.ts';
import type { Slice } from './slices.ts';

/** The models of a run, in the order in which a table shows them. */
export const MODEL_IDS = ['zeroShot', 'popularity', 'sft', 'soft'] as const;
export type ModelId = (typeof MODEL_IDS)[number];
export const MODEL_LABELS: Record<ModelId, string> = {
  zeroShot: 'base model (zero-shot)',
  popularity: 'popularity',
  sft: 'SFT',
  soft: 'SOFT',
};
export type MetricKind = 'hr' | 'ndcg';

/** The part of a run config that a report reads; a whole run config fits. The rest is shown as it is. */
export interface ReportConfig {
  name: string;
  seed: number;
  data: { source: object; samples: { train: number; valid: number; test: number } };
  model: { source: object };
  train: { batchSize: number; learningRate: number };
  soft: { curriculumAlpha: number };
  evaluation: { ks: number[]; metric: string };
}

/** One epoch of a stage, as `trainEpoch` returned it, with its validation. */
export interface EpochInput {
  epoch: number;
  trainLoss: number;
  lossTarget: number | null;
  lossDistilled: number | null;
  /** Loss of each optimiser step, in order. */
  stepLosses: number[];
  validation?: Metrics;
}

/** How a step went, never what it computed. */
export interface StepTelemetry {
  seconds: number;
  /** How often the step went on from a checkpoint or from saved tiles. */
  resumes: number;
  /** Units done in this attempt a second; the unit is the step's own. */
  rate?: number;
  unit?: string;
  tokensPerSecond?: number;
  /** Of `seconds`, those inside forward and backward passes and the optimiser; the rest are data, store and waiting. */
  computeSeconds?: number;
  mfu?: number;
  reusedRows?: number;
  peakRssBytes?: number;
}

/** A step of the run with what it made; telemetry says how it went, never what it computed. */
export interface StepInput {
  /** What the step is in this run, e.g. "trainEpoch sft 2". */
  label: string;
  step: string;
  key: string;
  reused: boolean;
  outputs: Record<string, ArtifactRef>;
  fingerprint: string;
  telemetry: StepTelemetry;
}

/** Counts of rows, and of different texts among them. */
export interface DistillationSummary {
  rows: number;
  exactTargets: number;
  existingTitles: number;
  distinctTexts: number;
}

/** Decoded tables and results of a finished run. */
export interface RunSummaryInput {
  runId: string;
  /** What the person ran, e.g. "recipes/demo.yaml"; absent when it did not come from a file. */
  recipe?: string;
  config: ReportConfig;
  data: {
    /** Counts of kept and dropped rows, by reason. */
    counts: Record<string, number>;
    windows: { train: number; valid: number; test: number };
    /** The same where windows and items are the same. */
    splitHash: string;
    /** Anything else of the dataset card: source, licence, ... */
    card?: object;
  };
  items: readonly ItemRow[];
  titles: readonly TitleRow[];
  testWindows: readonly WindowRow[];
  predictions: Partial<Record<ModelId, readonly PredictionRow[]>>;
  epochs: { sft: readonly EpochInput[]; soft: readonly EpochInput[] };
  /** Epoch that each stage went on with. */
  chosenEpochs?: { sft?: number; soft?: number };
  curriculum: readonly CurriculumRow[];
  distillation?: DistillationSummary;
  steps: readonly StepInput[];
  /** What determines the bytes: backend, instruction set, threads, library versions. */
  fingerprint: Record<string, unknown>;
  digests: { sftAdapter: string; softAdapter: string };
}

/** A sentence about the run in words. */
export interface Finding {
  /** result: what the figures say; scope: what this run can and cannot show; warning: something looks wrong. */
  kind: 'result' | 'scope' | 'warning';
  text: string;
}

export interface ModelSummary {
  id: ModelId;
  label: string;
  metrics: Metrics;
  intervals: Record<MetricKind, Record<string, Interval>>;
  /** Rank of the target in each test window. */
  ranks: number[];
  /** Most frequent generated texts, most frequent first; empty for popularity. */
  topTexts: { text: string; count: number; exists: boolean }[];
}

/** A model against another on the same test windows. */
export interface Comparison {
  first: ModelId;
  second: ModelId;
  kind: MetricKind;
  k: number;
  difference: Difference;
}

export interface Example {
  windowId: string;
  history: string[];
  truth: string;
  answers: { model: ModelId; generated: string; exists: boolean; grounded: string; rank: number }[];
}

export interface StageSummary {
  epochs: EpochInput[];
  chosenEpoch?: number;
}

export interface LineageRow {
  label: string;
  step: string;
  key: string;
  reused: boolean;
  artifacts: { name: string; sha256: string; bytes: number; rows?: number; schema?: string }[];
}

/** Whether the run became current, and by which figures; known once somebody has asked. */
export interface PromotionSummary {
  /** promoted, kept, rejected, superseded or waiting. */
  decision: string;
  why: string;
  release: string;
  /** The release that it stood against; null: popularity. */
  champion: string | null;
  /** Of the judgement: metric, means, gain and its interval, windows, rule; empty when nobody judged. */
  figures: Record<string, number | string | null>;
}

/** Everything that the terminal table, the HTML report and the model card show: plain JSON. */
export interface RunSummary {
  runId: string;
  name: string;
  recipe?: string;
  config: ReportConfig;
  data: RunSummaryInput['data'] & { titles: number };
  ks: number[];
  /** The K of headline figures: 10 where it is among `ks`. */
  headlineK: number;
  models: ModelSummary[];
  chance: Record<MetricKind, Record<string, number>>;
  comparisons: Comparison[];
  /** Test windows by history length and by popularity of their target; see `sliceTable`. */
  slices: Slice[];
  curriculum: CurriculumRow[];
  stages: { sft: StageSummary; soft: StageSummary };
  distillation?: DistillationSummary;
  examples: Example[];
  findings: Finding[];
  nextCommands: string[];
  lineage: LineageRow[];
  telemetry: { steps: TelemetryRow[]; seconds: number; resumes: number; training?: TrainingSpeed };
  fingerprint: Record<string, unknown>;
  digests: { sftAdapter: string; softAdapter: string };
  /** Only in the report that is made again when it is decided. */
  promotion?: PromotionSummary;
}

/** Of the training that this run did itself, over all its epochs. */
export interface TrainingSpeed {
  seconds: number;
  tokensPerSecond: number;
  /** Useful floating-point operations a second, as a share of the machine's measured matrix product rate. */
  mfu?: number;
}
export type TelemetryRow = { label: string; step: string; reused: boolean } & StepInput['telemetry'];
