import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { DriftFinding, DriftLimits, DriftReport } from '../datasets/drift.ts';
import type { PromptParams } from '../datasets/prompts.ts';
import type { CurriculumRow } from '../datasets/schemas.ts';
import type { CutOff, LeftOut } from '../datasets/snapshot.ts';
import type { LoraConfig } from '../model/lora.ts';
import type { OptimizerConfig } from '../model/optimizer.ts';
import type { Metrics } from '../report/metrics.ts';
import type { StepTelemetry } from '../report/summary-types.ts';

export type {
  CurriculumRow,
  CutOff,
  DriftFinding,
  DriftLimits,
  DriftReport,
  LeftOut,
  Metrics,
  PromptParams,
  StepTelemetry,
};
export type LoraParams = LoraConfig;
export type OptimizerParams = OptimizerConfig;

/** The durable steps of a run, one activity each. */
export type StepName =
  | 'prepareData'
  | 'encodeTitles'
  | 'trainEpoch'
  | 'selfDistill'
  | 'measureDistance'
  | 'evaluate'
  | 'evaluatePopularity'
  | 'release'
  | 'renderReport';

/** What the trainer does for a person, outside of every run. */
export type ToolName = 'recommend' | 'mergeAdapter';
export type JobName = StepName | ToolName;

/**
 * Raised by one whenever a step's code changes what it computes from the same inputs and parameters:
 * it is part of the step's key, so older results are not reused.
 */
export const CONTRACT_VERSIONS: Record<JobName, number> = {
  prepareData: 1,
  encodeTitles: 1,
  trainEpoch: 1,
  selfDistill: 1,
  measureDistance: 1,
  evaluate: 1,
  evaluatePopularity: 1,
  release: 2,
  renderReport: 2,
  recommend: 1,
  mergeAdapter: 1,
};

/** A model or data source as the config names it, with the digest of what was found there. */
export interface ModelRef {
  source: ModelSource;
  digest: string;
}
export type ModelSource =
  | { registry: 'smollm2-135m-instruct' }
  | { folder: string }
  | { gguf: string }
  | { hub: string; revision: string; tokenEnv?: string };

/** Where the files of a model lie on a machine. */
export type ModelFiles = { folder: string } | { gguf: string };

/** What a run is made from, as it was found. */
export interface Sources {
  model: ModelRef;
  data: { digest: string; snapshot?: DataSnapshot };
}

/** The rows of a growing source up to the cut-off, kept in the store: what arrives later cannot change the run. */
export interface DataSnapshot {
  interactions: ArtifactRef;
  items: ArtifactRef;
  /** Rows that are no part of it: the source had them, or half of them, when it was read. */
  leftOut: LeftOut;
}

export interface GenerationParams {
  beamWidth: number;
  maxNewTokens: number;
  constrain: 'none' | 'catalogue';
  tileRows: number;
}
export type Precision = 'f32' | 'bf16';

/** Shared by every tensor step: the model, its precision, and the prompt's words. */
export interface TensorParams {
  model: ModelRef;
  precision: Precision;
}

/**
 * outputs: `interactions`, `items`, `titles`, `windowsTrain`, `windowsValid`, `windowsTest`, `card` (JSON: counts of
 * every drop, source, licence).
 */
export interface PrepareDataParams {
  /** The `data` part of the run config. */
  data: unknown;
  /** Of the source's files, or of the snapshot. */
  digest: string;
  /** What is read instead of the source, when it grows or has a cut-off; `digest` is its own. No part of the key. */
  snapshot?: DataSnapshot;
  seed: number;
}
/** inputs: `titles`; outputs: `embeddings`. */
export interface EncodeTitlesParams extends TensorParams {
  tileRows: number;
}
/**
 * inputs: `windows`, `items`, `distilled` (when lambda > 0), `state` (of the epoch before; absent in epoch 1), `warmStart`
 * (adapter that epoch 1 starts from; absent: a fresh one);
 * outputs: `state` (LoRA, moments), `adapter` (LoRA alone, safetensors in PEFT names).
 */
export interface TrainEpochParams extends TensorParams {
  stage: 'sft' | 'soft';
  /** 1-based. */
  epoch: number;
  /** Weight of the distilled targets; 0 in SFT. */
  lambda: number;
  prompt: PromptParams;
  lora: LoraParams;
  optimizer: OptimizerParams;
  batchSize: number;
  microBatchSize: number;
  lossAverage: 'batch' | 'microBatch';
  seed: number;
}
/** inputs: `windows`, `items`, `titles`, `adapter`; outputs: `distilled`. */
export interface SelfDistillParams extends TensorParams {
  prompt: PromptParams;
  lora: LoraParams;
  generation: GenerationParams;
}
/** inputs: `windows`, `items`, `titles`, `embeddings`, `adapter` (absent: the base model); outputs: `distances`. */
export interface MeasureDistanceParams extends TensorParams {
  prompt: PromptParams;
  lora: LoraParams;
  generation: GenerationParams;
  /** How many of the first train prompts are measured. */
  prompts: number;
}
/** inputs: `windows`, `items`, `titles`, `embeddings`, `adapter` (absent: the base model); outputs: `predictions`. */
export interface EvaluateParams extends TensorParams {
  prompt: PromptParams;
  lora: LoraParams;
  generation: GenerationParams;
  ks: number[];
}
/** inputs: `windows`, `items`, `titles`; outputs: `predictions`. */
export interface EvaluatePopularityParams {
  ks: number[];
}

/** A step of a run that had to be done for its release. */
export interface LineageStep {
  /** Unique in the run: `sft-2-train`. */
  id: string;
  label: string;
  step: StepName;
  key: string;
}
/**
 * inputs: `sftAdapter`, `softAdapter`; outputs: `metrics` (metrics.json), `lineage` (JSON) and the files of the PEFT
 * folder, `adapter/<file name>`.
 */
export interface ReleaseParams {
  /** The run config without name, tags and circumstances. */
  config: unknown;
  sources: Sources;
  steps: LineageStep[];
  chosen: { sft: number; soft: number };
  ks: number[];
  curriculum: CurriculumRow[];
  /** A run of many epochs names the last ones; what came before them stands in the record of this run. */
  run?: string;
}
export interface ReleaseResult {
  /** Epochs that were released. */
  chosen: { sft: number; soft: number };
}
/** outputs: `report` (report.html), `telemetry` (telemetry.json). */
export interface RenderReportParams {
  /** Key of the release step. */
  release: string;
  runId: string;
  name: string;
}

export interface TrainEpochResult {
  epoch: number;
  /** Mean loss of the epoch as it was trained: (1 - lambda) CE(y) + lambda CE(y-hat), token-weighted over the epoch. */
  trainLoss: number;
  lossTarget: number | null;
  lossDistilled: number | null;
  /** Loss of each optimiser step, in order. Stays in the manifest: the workflow does not carry it. */
  stepLosses: number[];
  targetTokens: number;
  distilledTokens: number;
  /** Optimiser steps since the stage began. */
  globalStep: number;
}
export interface DistanceResult {
  distance: number;
  prompts: number;
}
export interface PrepareDataResult {
  counts: Record<string, number>;
  /** Catalogue rows (distinct titles). */
  titles: number;
  /** With `trainUntil` there may be none to test. */
  windows: { train: number; valid: number; test: number };
  /** Of what is trained and validated on; only with `asOf` or `trainUntil`. Equal digests: nothing new to learn from. */
  windowsDigest?: string;
}
export interface SelfDistillResult {
  rows: number;
  exactTargets: number;
  existingTitles: number;
  distinctTexts: number;
}
export interface EncodeTitlesResult {
  rows: number;
  size: number;
}

/** What changes how a step runs but never what it computes. */
export interface Circumstances {
  runId: string;
  checkpointEverySeconds: number;
  /** How many checkpoints of a step at work stay; by default as many as the store keeps by itself. */
  checkpointsKept?: number;
  /** Which part of the tiles this activity computes; all of them by default. */
  shard?: { index: number; count: number };
  allowDifferentBackend: boolean;
  /** The trainer counts as stalled when it shows no progress for so long. */
  stallTimeoutSeconds: number;
}

/** The input of every step's activity: flat, references and small numbers only. */
export interface StepInput<Params> {
  step: JobName;
  /** The step key, from `lookUpStep`. */
  key: string;
  inputs: Record<string, ArtifactRef>;
  params: Params;
  circumstances: Circumstances;
}

/** What a step's activity returns, and what its manifest holds. */
export interface StepResult<Result> {
  key: string;
  outputs: Record<string, ArtifactRef>;
  result: Result;
  /** True when a manifest with this key was there already. */
  reused: boolean;
  /** Digest of the fingerprint under which it was made. */
  fingerprint: string;
  telemetry: StepTelemetry;
  /** Own queue of the tensor worker that has just computed it; no part of what is kept. */
  queue?: string;
}

export interface LookUpInput {
  step: StepName;
  inputs: Record<string, ArtifactRef>;
  params: unknown;
}
export interface LookUpResult {
  key: string;
  found?: StepResult<unknown>;
  /** The furthest checkpoint or the number of saved tiles, when the step was begun before. */
  resumable?: string;
}

/** Position inside a step; compared element by element. */
export interface Progress {
  step: JobName;
  /** e.g. "epoch 2, step 3/16, micro-batch 12/32" or "tile 4/12". */
  position: string;
  done: number;
  total: number;
  unit: string;
  /** Units a second in this attempt. */
  rate?: number;
  tokensPerSecond?: number;
  /** Share of the machine's rate of matrix products that is useful work. */
  mfu?: number;
  secondsLeft?: number;
  loss?: number;
  checkpoint?: string;
}
