import { expect, test } from 'vitest';
import { costPlan, fits, type PlanReport, renderPlan, totalsOf, willNotFit } from '../../cli/plan-view.ts';
import { paintFor } from '../../cli/terminal.ts';
import type { StepPlan } from '../../client/step-planner.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';

const config = RunConfigSchema.parse({
  model: { source: { registry: 'smollm2-135m-instruct' } },
  data: { source: { planted: {} } },
  cost: { perHour: 7.2, currency: 'EUR' },
});
const step = (id: string, change: Partial<StepPlan>): StepPlan => ({
  ...{
    id,
    stage: 'sft',
    step: 'trainEpoch',
    label: id,
    action: 'run',
    reason: 'why',
    dependsOn: [],
    optional: false,
    identity: id,
  },
  ...change,
});
const steps = [
  step('prepare', { stage: 'prepare', step: 'prepareData', action: 'reuse', reason: 'done by demo-1' }),
  step('sft-1-train', { reason: 'train.learningRate 0.1 -> 0.2' }),
  step('sft-4-train', { optional: true, reason: 'after sft-3-train' }),
];
const estimates = [
  { seconds: 9 },
  { rows: 4096, seconds: 1000, peakBytes: 5e9 },
  { rows: 4096, seconds: 500, peakBytes: 5e9 },
];

function report(memoryBytes: number): PlanReport {
  const costed = costPlan(steps, estimates, config.cost);
  const total = totalsOf(costed);
  const fitting = fits(total.peakBytes, memoryBytes);
  return {
    recipe: 'a.yaml',
    name: 'a',
    steps: costed,
    total,
    currency: 'EUR',
    backend: 'tensorflow',
    memoryBytes,
    fits: fitting,
  };
}

test('what is reused costs nothing; the rest costs its share of an hour', () => {
  const { steps: costed, total } = report(16e9);
  expect(costed.map(({ seconds, cost }) => [seconds, cost])).toEqual([
    [undefined, undefined],
    [1000, 2],
    [500, 1],
  ]);
  expect(total).toEqual({ seconds: 1500, peakBytes: 5e9, cost: 3 });
});

test('the table shows rows, time, memory, cost and why, and its sum in words', () => {
  const lines = renderPlan(report(16e9), 120, paintFor(false));
  expect(lines.map((line) => line.trimEnd())).toEqual([
    'step         plan    rows         time  memory  cost  why',
    'prepare      reuse                                    done by demo-1',
    'sft-1-train  run    4,096  16 min 40 s  5.0 GB  2.00  train.learningRate 0.1 -> 0.2',
    'sft-4-train  run    4,096   8 min 20 s  5.0 GB  1.00  after sft-3-train; unless stopped early',
    '',
    '3 steps: 1 to reuse, 0 to resume, 2 to run.',
    'Takes at most about 25 min 00 s, 5.0 GB of the 16 GB of memory, 3.00 EUR (measured here with tensorflow).',
  ]);
  for (const line of renderPlan(report(16e9), 40, paintFor(false)).slice(0, 4))
    expect(line.length).toBeLessThanOrEqual(40);
});

test('a run that does not fit says by how much and what to change, by the step that needs most', () => {
  const small = report(4e9);
  expect(small.fits).toBe(false);
  expect(report(16e9).fits).toBe(true);
  const error = willNotFit(small, config);
  expect(error.code).toBe('WILL_NOT_FIT');
  expect(error.message).toContain('"sft-1-train" needs about 5.0 GB');
  expect(error.message).toContain('this machine has 4.0 GB');
  expect(error.message).toContain('lower train.microBatchSize (8), set model.precision: bf16');
  const generating = small.steps.map((each) => ({ ...each, step: 'evaluate' as const }));
  expect(willNotFit({ ...small, steps: generating }, config).message).toContain('lower generation.tileRows (32)');
});
