import type { Sources } from '../activities/contracts.ts';
import type { RunConfig } from './run-config.ts';
import type { RunError, RunPhase, RunStatus } from './run-state.ts';
import { metricOf } from './step-params.ts';

/** Kinds of the records that the store keeps of a sweep. */
export const SWEEP_RECORDS = { start: 'sweep-start', status: 'sweep' } as const;

/** More runs than this in one sweep are refused: their results pass through one history. */
export const MAX_SWEEP_RUNS = 64;

/** What differs between the runs of a sweep: fields of the recipe by their dotted names, `soft.curriculumAlpha`. */
export type Settings = Record<string, unknown>;

export interface SweepPlan {
  /** One run each, in this order. */
  runs: Settings[];
  /** How many runs are at work at the same time. */
  maxParallel: number;
  /** After so much time, pauses left out, only the best run goes on. */
  budgetSeconds?: number;
  /** Whether losers end early. */
  earlyStop: boolean;
}

export interface SweepInput {
  /** The recipe that all runs share; parsed again. */
  config: unknown;
  sweep: SweepPlan;
  /** What was found before, by the retrain that starts it. */
  sources?: Sources;
  /** The recipe's path as the person named it. */
  recipe?: string;
  /** Circumstances that tests shorten. */
  heartbeatTimeoutSeconds?: number;
}

/** One run of a sweep. */
export interface SweepRun {
  runId: string;
  settings: Settings;
  phase: RunPhase | 'pending';
  /** Rounds of the curriculum that it has done. */
  round: number;
  /** Its best round on validation; null before the first. */
  value: number | null;
  /** Why it goes on no more. */
  reason?: string;
  error?: RunError;
}

/** Answer of a sweep's `status` query, its result, and its record in the store. */
export interface SweepStatus {
  sweepId: string;
  name: string;
  phase: RunPhase;
  /** Of validation: `hr@10`. */
  metric: string;
  /** After these rounds the worse half ends; empty without early stop. */
  rungs: number[];
  maxParallel: number;
  budgetSeconds: number | null;
  /** Whether the budget is used up. */
  spent: boolean;
  /** In the order of the grid. */
  runs: SweepRun[];
  /** The completed run that is best on validation. */
  best: string | null;
  /** Key of the prepared data, when all runs have the same. */
  prepared?: string;
  error?: RunError;
}

/** The rounds after which the worse half ends: 2, 4, 8, ..., and the last one. */
export function rungsOf(configs: readonly RunConfig[]): number[] {
  const last = Math.max(...configs.map(({ soft, train }) => soft.maxEpochs ?? train.maxEpochs));
  const rungs: number[] = [];
  for (let rung = 2; rung < last; rung *= 2) rungs.push(rung);
  return [...rungs, last];
}

/** What a run's rounds are worth: the best on validation, or the last one where the recipe takes that. */
export function valueOfRounds(
  { evaluation, train }: RunConfig,
  { curriculum, bestRound }: Pick<RunStatus, 'curriculum' | 'bestRound'>,
): number | null {
  const { kind, k } = metricOf(evaluation.metric);
  const values = curriculum.map(({ validation }) => validation[kind][k] as number);
  if (values.length === 0) return null;
  // A run of an earlier version names no best round, and carries all of them.
  return train.select === 'last' ? (values.at(-1) as number) : (bestRound?.value ?? Math.max(...values));
}

/** Best first; what is equal stays in the order of the grid, and what has no value yet comes last. */
export function ranked<T extends Pick<SweepRun, 'value'>>(runs: readonly T[]): T[] {
  return [...runs].sort((a, b) => (b.value ?? Number.NEGATIVE_INFINITY) - (a.value ?? Number.NEGATIVE_INFINITY));
}

/** Those that are worse than every run of the better half, rounded up; a tie at the border is no loss. */
export function losersOf<T extends Pick<SweepRun, 'value'>>(runs: readonly T[]): T[] {
  const border = ranked(runs)[Math.ceil(runs.length / 2) - 1]?.value ?? null;
  return border === null ? [] : runs.filter(({ value }) => (value ?? Number.NEGATIVE_INFINITY) < border);
}

/** `soft.curriculumAlpha=0.1 train.maxEpochs=3`. */
export function settingsText(settings: Settings): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join(' ');
}
