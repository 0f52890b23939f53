import type { Metrics, Sources, StepName, StepResult } from '../activities/contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';

/** The stages of a run, in order; the words of the method. */
export const STAGES = ['prepare', 'encode', 'sft', 'self-distil', 'curriculum', 'test', 'release', 'report'] as const;
export type Stage = (typeof STAGES)[number];

/** The two stages that train an adapter, epoch by epoch. */
export type TrainingStage = 'sft' | 'curriculum';

/**
 * So many epochs of each training stage a run carries along, whatever their number; its record in the store has all. What
 * goes through the server stays small, and a record that is lost is made up for by the next.
 */
export const CARRIED_EPOCHS = 3;

/** One line of a run's plan. */
export interface StepStatus {
  /** Unique in its run: `sft-2-train`, `test-popularity`. */
  id: string;
  stage: Stage;
  step: StepName;
  /** For people: "SFT epoch 2: train". */
  label: string;
  state: 'pending' | 'running' | 'run' | 'reused';
  key?: string;
  /** What an unfinished step went on from. */
  resumedFrom?: string;
}

/** One epoch of SFT, or one round of the curriculum. */
export interface EpochRow {
  /** 1-based. */
  epoch: number;
  /** Weight of the distilled targets in this epoch; 0 in SFT. */
  lambda: number;
  /** The distance that set lambda; null in SFT. */
  distance: number | null;
  /** The distance after the epoch; null in SFT. */
  distanceAfter: number | null;
  trainLoss: number;
  validation: Metrics;
}

/** Where a training stage stands after its last whole epoch. */
export interface StageState {
  /** Of the last epochs. */
  rows: EpochRow[];
  last?: { state: ArtifactRef; adapter: ArtifactRef };
  best?: { epoch: number; value: number; adapter: ArtifactRef };
}

/** A run's steps from one on, computed once more beside what was there. */
export interface Attempt {
  /** Id of its first step. */
  from: string;
  /** No other run's, and no other attempt's. */
  name: string;
}

/** Where a person wants a run to stop. */
export interface LastStep {
  /** The step after which it is to stop. */
  id: string;
  /** Whether it has. */
  reached: boolean;
}

/** All that a run carries from step to step, and across continue-as-new: references and small numbers only. */
export interface SoftState {
  stage: Stage;
  /** Of the training stages, those of the epochs around the last whole one. */
  steps: StepStatus[];
  /** Results of the steps outside the training stages, by step id. */
  results: Record<string, StepResult<unknown>>;
  sft: StageState;
  curriculum: StageState;
  /** d_0. */
  initialDistance?: number;
  curriculumAlpha: number;
  sources?: Sources;
  /** Own queue of the tensor worker that computed the last step and holds the base model. */
  holder?: string;
  /** Set once the run has ended. */
  phase?: RunPhase;
  paused: boolean;
  stopAfter?: 'now' | 'round';
  lastStep?: LastStep;
  /** Oldest first; a step belongs to the newest that begins at it or before. */
  attempts?: readonly Attempt[];
  error?: RunError;
}

export interface RunError {
  code: string;
  message: string;
  retryable: boolean;
}

export type RunPhase =
  | 'running'
  | 'paused'
  | 'stopping'
  /** A run of a sweep that has come as far as the others are to come too. */
  | 'waiting'
  | 'stopped'
  | 'completed'
  | 'failed'
  | 'cancelled';

/** Phases that a run or sweep comes out of only by being taken up again. */
export const ENDED_PHASES = ['completed', 'failed', 'stopped', 'cancelled'] as const satisfies readonly RunPhase[];

export const hasEnded = ({ phase }: { phase: RunPhase }): boolean =>
  (ENDED_PHASES as readonly RunPhase[]).includes(phase);

/** Where a run may end for now: a part of the method that is done, or a round of the curriculum. */
export type Border = 'encode' | 'sft' | 'self-distil' | 'test-sft' | number;

/** Where a run stands: whole in the store's record of the run; the workflow's own answer has the epochs that it carries. */
export interface RunStatus {
  runId: string;
  phase: RunPhase;
  stage: Stage;
  steps: StepStatus[];
  sft: EpochRow[];
  curriculum: EpochRow[];
  /** The best round of the curriculum on validation. */
  bestRound?: { epoch: number; value: number };
  initialDistance?: number;
  curriculumAlpha: number;
  lastStep?: LastStep;
  latest: { loss?: number; lambda?: number; distance?: number; validation?: Metrics };
  error?: RunError;
}

export function initialState(curriculumAlpha: number, steps: StepStatus[]): SoftState {
  return {
    stage: 'prepare',
    steps,
    results: {},
    sft: { rows: [] },
    curriculum: { rows: [] },
    curriculumAlpha,
    paused: false,
  };
}

/** The last whole epoch of a stage; 0 before the first. */
export function epochOf({ rows }: Pick<StageState, 'rows'>): number {
  return rows.at(-1)?.epoch ?? 0;
}

/** Whether the run carries all that it has done, or its record must be asked for the rest. */
export function carriesAll({ sft, curriculum }: Pick<SoftState, TrainingStage>): boolean {
  return [sft, curriculum].every((stage) => epochOf(stage) <= CARRIED_EPOCHS);
}

export function toStatus(runId: string, phase: RunPhase, state: SoftState): RunStatus {
  const last = state.curriculum.rows.at(-1) ?? state.sft.rows.at(-1);
  const distance = state.curriculum.rows.at(-1)?.distanceAfter ?? state.initialDistance;
  const { best } = state.curriculum;
  return {
    runId,
    phase,
    stage: state.stage,
    steps: state.steps,
    sft: state.sft.rows,
    curriculum: state.curriculum.rows,
    ...(best ? { bestRound: { epoch: best.epoch, value: best.value } } : {}),
    ...(state.initialDistance === undefined ? {} : { initialDistance: state.initialDistance }),
    curriculumAlpha: state.curriculumAlpha,
    latest: {
      ...(last ? { loss: last.trainLoss, lambda: last.lambda, validation: last.validation } : {}),
      ...(distance === undefined || distance === null ? {} : { distance }),
    },
    ...(state.lastStep ? { lastStep: state.lastStep } : {}),
    ...(state.error ? { error: state.error } : {}),
  };
}
