import type { PredictionRow, WindowRow } from '../../datasets/schemas.ts';
import type { EpochInput, RunSummaryInput, StepInput } from '../../report/summary-types.ts';

/** A hostile title: markup, an escape sequence, a bidirectional override. */
export const HOSTILE = '<script>alert("x")</script> & \u001b[31mred\u202e';
export const WINDOWS = 64;
const TITLES = 1152;

const digest = (letter: string) => letter.repeat(64).slice(0, 64);
const title = (row: number) => (row === 7 ? HOSTILE : `Title number ${row}`);

const windows: WindowRow[] = Array.from({ length: WINDOWS }, (_, row) => ({
  windowId: `user${row}:10`,
  userId: `user${row}`,
  targetIndex: 10,
  history: Array.from({ length: 10 }, (_, index) => (row + index) % TITLES),
  target: (row * 7) % TITLES,
  targetTimeMs: 1_000n,
}));

/** Predictions whose ranks and texts are given by row. */
export function predictions(
  rankAt: (row: number) => number,
  textAt: (row: number) => string = (row) => `Title number ${row}`,
): PredictionRow[] {
  return windows.map(({ windowId, target }, row) => ({
    windowId,
    targetRow: target,
    text: textAt(row),
    rank: rankAt(row),
    distance: 1,
    nearest: row,
    exists: row % 4 === 0,
    valid: textAt(row) !== '',
  }));
}

function epoch(number: number, trainLoss: number, stepLosses: number[], existing = 0.1): EpochInput {
  const validation = {
    hr: { '1': 0, '10': existing * 0.1 * number },
    ndcg: { '1': 0, '10': 0.004 * number },
    windows: 32,
    existingTitles: existing * number,
    distinctTexts: 10 * number,
  };
  return { epoch: number, trainLoss, lossTarget: trainLoss, lossDistilled: null, stepLosses, validation };
}

function step(label: string, name: string, letter: string, schema: string): StepInput {
  const sha256 = digest(letter);
  return {
    label,
    step: name,
    key: digest('e'),
    reused: label === 'prepareData',
    outputs: { [schema]: { uri: `blobs/${sha256}`, sha256, bytes: 123_456, rows: 96, schema } },
    fingerprint: digest('f'),
    telemetry: { seconds: 75.4, resumes: label === 'sft epoch 1' ? 1 : 0, rate: 1.25, unit: 'windows' },
  };
}

/** A small run: SFT learns, HR stays near chance, SOFT answers one title for a third of the windows. */
export function smallRun(overrides: Partial<RunSummaryInput> = {}): RunSummaryInput {
  const curriculum = [
    { epoch: 1, lambda: 1, distance: 40.6, distanceAfter: 29.3, trainLoss: 2.1, validation: 0 },
    { epoch: 2, lambda: 0.061, distance: 29.3, distanceAfter: 23, trainLoss: 1.9, validation: 0.031 },
  ];
  return {
    runId: 'demo-20261123-1500',
    recipe: 'recipes/demo.yaml',
    config: {
      name: 'demo',
      seed: 42,
      data: { source: { registry: 'movielens-100k' }, samples: { train: 96, valid: 32, test: WINDOWS } },
      model: { source: { registry: 'smollm2-135m-instruct' } },
      train: { batchSize: 16, learningRate: 2e-3 },
      soft: { curriculumAlpha: 10 },
      evaluation: { ks: [1, 5, 10, 20, 50], metric: 'hr@10' },
    },
    data: {
      counts: { rows: 100_000, duplicates: 0, withoutTitle: 1, kCore: 2046, kept: 97_953 },
      windows: { train: 96, valid: 32, test: WINDOWS },
      splitHash: '5'.repeat(64),
      card: { source: 'MovieLens-100K', licence: 'research use only', dropped: { kCore: 2046, 'no title': 1 } },
    },
    items: Array.from({ length: TITLES }, (_, row) => ({ itemId: `i${row}`, title: title(row), titleRow: row })),
    titles: Array.from({ length: TITLES }, (_, row) => ({ title: title(row), firstItem: row, popularity: row })),
    testWindows: windows,
    predictions: {
      zeroShot: predictions(
        () => 400,
        () => 'Here are some movies',
      ),
      popularity: predictions((row) => (row === 0 ? 5 : 200)),
      sft: predictions((row) => (row === 3 ? 9 : 300)),
      soft: predictions(
        (row) => (row < 2 ? row + 1 : 250),
        (row) => (row % 3 === 0 ? HOSTILE : `Title number ${row}`),
      ),
    },
    epochs: {
      sft: [epoch(1, 2.8, [3.1, 2.9, 2.7, 2.5]), epoch(2, 1.6, [1.8, 1.7, 1.5, 1.4], 0.15)],
      soft: [epoch(1, 2.1, [2.6, 2.2, 1.9, 1.7]), epoch(2, 1.9, [2.2, 2, 1.8, 1.6])],
    },
    chosenEpochs: { sft: 2, soft: 2 },
    curriculum,
    distillation: { rows: 96, exactTargets: 4, existingTitles: 19, distinctTexts: 30 },
    steps: [
      step('prepareData', 'prepareData', 'a', 'windows'),
      step('sft epoch 1', 'trainEpoch', 'b', 'adapter'),
      step('evaluate soft', 'evaluate', 'c', 'predictions'),
    ],
    fingerprint: { backend: 'tensorflow', version: '2.18.1', threads: 2, instructions: 'avx512' },
    digests: { sftAdapter: digest('1'), softAdapter: digest('2') },
    ...overrides,
  };
}
