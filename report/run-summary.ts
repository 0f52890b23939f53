import type { PredictionRow, WindowRow } from '../datasets/schemas.ts';
import { SoftflowError } from '../errors.ts';
import { bootstrapDifference, bootstrapMean } from './bootstrap.ts';
import { findings, nextCommands } from './findings.ts';
import { chanceHitRateAt, chanceNdcgAt, gains, predictionMetrics } from './metrics.ts';
import { sliceWindows } from './slices.ts';
import {
  type Comparison,
  type Example,
  type LineageRow,
  type MetricKind,
  MODEL_IDS,
  MODEL_LABELS,
  type ModelId,
  type ModelSummary,
  type RunSummary,
  type RunSummaryInput,
  type StageSummary,
  type StepInput,
  type TelemetryRow,
  type TrainingSpeed,
} from './summary-types.ts';

const EXAMPLES = 8;
const TOP_TEXTS = 8;
const COMPARED: readonly [ModelId, ModelId][] = [
  ['soft', 'sft'],
  ['soft', 'popularity'],
  ['soft', 'zeroShot'],
  ['sft', 'popularity'],
  ['sft', 'zeroShot'],
];

/**
 * Pure: the same tables give the same summary.
 * @throws SoftflowError REPORT_INPUT when a prediction table does not belong to the test windows.
 */
export function buildRunSummary(input: RunSummaryInput): RunSummary {
  const ks = [...input.config.evaluation.ks].sort((a, b) => a - b);
  const present = MODEL_IDS.filter((id) => input.predictions[id] !== undefined);
  for (const id of present) assertSameWindows(id, input.predictions[id] ?? [], input.testWindows);
  const models = present.map((id) => summariseModel(id, input.predictions[id] ?? [], ks, input.config.seed));
  const headlineK = ks.includes(10) ? 10 : (ks[Math.floor(ks.length / 2)] ?? 10);
  const base = {
    runId: input.runId,
    name: input.config.name,
    recipe: input.recipe,
    config: input.config,
    data: { ...input.data, titles: input.titles.length },
    ks,
    headlineK,
    models,
    chance: {
      hr: Object.fromEntries(ks.map((k) => [String(k), chanceHitRateAt(input.titles.length, k)])),
      ndcg: Object.fromEntries(ks.map((k) => [String(k), chanceNdcgAt(input.titles.length, k)])),
    },
    comparisons: compareModels(models, headlineK, input.config.seed),
    slices: sliceWindows(input.testWindows, input.items, input.titles),
    curriculum: [...input.curriculum],
    stages: { sft: stage(input, 'sft'), soft: stage(input, 'soft') },
    distillation: input.distillation,
    examples: pickExamples(input),
    lineage: input.steps.map(lineageRow),
    telemetry: summariseTelemetry(input.steps),
    fingerprint: input.fingerprint,
    digests: input.digests,
  };
  return { ...base, findings: findings(base), nextCommands: nextCommands(base) };
}

function summariseModel(
  id: ModelId,
  predictions: readonly PredictionRow[],
  ks: readonly number[],
  seed: number,
): ModelSummary {
  const generated = id !== 'popularity';
  const ranks = predictions.map((row) => row.rank);
  const intervals = (kind: MetricKind) =>
    Object.fromEntries(ks.map((k) => [String(k), bootstrapMean(gains(ranks, k, kind), { seed })]));
  return {
    id,
    label: MODEL_LABELS[id],
    metrics: predictionMetrics(predictions, ks, generated),
    intervals: { hr: intervals('hr'), ndcg: intervals('ndcg') },
    ranks,
    topTexts: generated ? topTexts(predictions) : [],
  };
}

function topTexts(predictions: readonly PredictionRow[]): ModelSummary['topTexts'] {
  const counts = new Map<string, { text: string; count: number; exists: boolean }>();
  for (const { text, exists } of predictions) {
    const entry = counts.get(text) ?? { text, count: 0, exists };
    entry.count++;
    counts.set(text, entry);
  }
  return [...counts.values()]
    .sort((a, b) => b.count - a.count || (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .slice(0, TOP_TEXTS);
}

function compareModels(models: readonly ModelSummary[], k: number, seed: number): Comparison[] {
  const ranks = new Map(models.map((model) => [model.id, model.ranks]));
  return COMPARED.flatMap(([first, second]) => {
    const a = ranks.get(first);
    const b = ranks.get(second);
    if (!a || !b) return [];
    return (['hr', 'ndcg'] as const).map((kind) => ({
      first,
      second,
      kind,
      k,
      difference: bootstrapDifference(gains(a, k, kind), gains(b, k, kind), { seed }),
    }));
  });
}

function stage(input: RunSummaryInput, name: 'sft' | 'soft'): StageSummary {
  return { epochs: [...input.epochs[name]], chosenEpoch: input.chosenEpochs?.[name] };
}

/** The first test windows in sampling order, which is a random order: nothing is picked by its result. */
function pickExamples(input: RunSummaryInput): Example[] {
  const answering = (['sft', 'soft'] as const).filter((id) => input.predictions[id]);
  return input.testWindows.slice(0, EXAMPLES).map((window, row) => ({
    windowId: window.windowId,
    history: window.history.map((item) => input.items[item]?.title ?? `item ${item}`),
    truth: input.items[window.target]?.title ?? `item ${window.target}`,
    answers: answering.map((model) => {
      const prediction = input.predictions[model]?.[row] as PredictionRow;
      return {
        model,
        generated: prediction.text,
        exists: prediction.exists,
        grounded: input.titles[prediction.nearest]?.title ?? `title ${prediction.nearest}`,
        rank: prediction.rank,
      };
    }),
  }));
}

function lineageRow(step: StepInput): LineageRow {
  const artifacts = Object.entries(step.outputs)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { sha256, bytes, rows, schema }]) => ({ name, sha256, bytes, rows, schema }));
  return { label: step.label, step: step.step, key: step.key, reused: step.reused, artifacts };
}

function summariseTelemetry(steps: readonly StepInput[]): RunSummary['telemetry'] {
  const rows = steps.map(({ label, step, reused, telemetry }) => ({ label, step, reused, ...telemetry }));
  const worked = rows.filter((row) => !row.reused);
  const training = trainingSpeed(worked);
  return {
    steps: rows,
    seconds: worked.reduce((sum, row) => sum + row.seconds, 0),
    resumes: worked.reduce((sum, row) => sum + row.resumes, 0),
    ...(training ? { training } : {}),
  };
}

/** Weighed by time, so that it is all tokens over all seconds; undefined when no step counted its tokens. */
function trainingSpeed(rows: readonly TelemetryRow[]): TrainingSpeed | undefined {
  const timed = rows.filter(({ tokensPerSecond, seconds }) => tokensPerSecond !== undefined && seconds > 0);
  const seconds = timed.reduce((sum, row) => sum + row.seconds, 0);
  if (seconds === 0) return undefined;
  const mean = (of: (row: TelemetryRow) => number) =>
    timed.reduce((sum, row) => sum + of(row) * row.seconds, 0) / seconds;
  const measured = timed.every(({ mfu }) => mfu !== undefined);
  return {
    seconds,
    tokensPerSecond: mean((row) => row.tokensPerSecond ?? 0),
    ...(measured ? { mfu: mean((row) => row.mfu ?? 0) } : {}),
  };
}

function assertSameWindows(id: ModelId, predictions: readonly PredictionRow[], windows: readonly WindowRow[]): void {
  const at = windows.findIndex((window, row) => predictions[row]?.windowId !== window.windowId);
  if (at === -1 && predictions.length === windows.length) return;
  const row = at === -1 ? windows.length : at;
  throw new SoftflowError(
    'REPORT_INPUT',
    `Expected the predictions of ${id} in the order of the ${windows.length} test windows, ` +
      `got window ${predictions[row]?.windowId ?? 'none'} instead of ${windows[row]?.windowId ?? 'none'} in row ${row}. ` +
      'Run the evaluation again.',
    { details: { model: id, row } },
  );
}

/** `metrics.json`: results only. The same tables give the same object; write it as canonical JSON. */
export function metricsJson(summary: RunSummary): Record<string, unknown> {
  const models = Object.fromEntries(summary.models.map(({ id, metrics }) => [id, { test: metrics }]));
  return {
    models: { ...models, chance: summary.chance },
    curriculum: summary.curriculum,
    digests: summary.digests,
  };
}

/** `telemetry.json`: circumstances only, one entry a step. */
export function telemetryJson(summary: RunSummary): Record<string, unknown> {
  const steps = summary.telemetry.steps.map(({ label, step, ...telemetry }) => [label, { step, ...telemetry }]);
  return { steps: Object.fromEntries(steps), fingerprint: summary.fingerprint };
}
