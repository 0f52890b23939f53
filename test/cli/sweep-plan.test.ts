import { expect, test } from 'vitest';
import type { CostedStep } from '../../cli/plan-view.ts';
import { mergePlans, renderSweepPlan } from '../../cli/sweep-plan.ts';
import { paintFor } from '../../cli/terminal.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';

const config = RunConfigSchema.parse({
  model: { source: { registry: 'smollm2-135m-instruct' } },
  data: { source: { planted: {} } },
  soft: { maxEpochs: 3 },
});

/** A run whose steps are its own from the second round on. */
function planOf(run: number): CostedStep[] {
  const step = (
    id: string,
    stage: CostedStep['stage'],
    shared: boolean,
    change: Partial<CostedStep> = {},
  ): CostedStep => ({
    ...{ id, stage, step: 'trainEpoch', label: id, action: 'run', reason: 'why', dependsOn: [], optional: false },
    ...{ rows: 10, seconds: 100, peakBytes: 2e9, cost: 1, identity: shared ? id : `${id} of ${run}` },
    ...change,
  });
  const { seconds: _, cost: __, ...reused } = step('prepare', 'prepare', true, { action: 'reuse' });
  return [
    reused,
    step('sft-1-train', 'sft', true),
    step('soft-1-train', 'curriculum', true),
    step('soft-2-train', 'curriculum', false),
    step('soft-3-train', 'curriculum', false),
    step('test-soft', 'test', false),
  ];
}
const settings = [0.1, 1, 10, 100].map((alpha) => ({ 'soft.curriculumAlpha': alpha }));
const plans = settings.map((_, run) => planOf(run));
const configs = settings.map(() => config);
const sweep = { runs: settings, maxParallel: 1, earlyStop: true };

test('what runs have in common is done once; losers spare the rest', () => {
  const { steps, rungs, total, atMost } = mergePlans(configs, plans, sweep);
  expect(rungs).toEqual([2, 3]);
  expect(steps.map(({ id, runs, times }) => [id, runs, times.reuse, times.run])).toEqual([
    ['prepare', 4, 1, 0],
    ['sft-1-train', 4, 0, 1],
    ['soft-1-train', 4, 0, 1],
    ['soft-2-train', 4, 0, 4],
    ['soft-3-train', 4, 0, 4],
    ['test-soft', 4, 0, 4],
  ]);
  expect(atMost).toEqual({ seconds: 1400, peakBytes: 2e9, cost: 14 });
  // Two runs come to round 3, one to the test.
  expect(total).toEqual({ seconds: 100 + 100 + 400 + 200 + 100, peakBytes: 2e9, cost: 9 });
  expect(mergePlans(configs, plans, { ...sweep, earlyStop: false }).total).toEqual(atMost);
});

test('the table has a line a step of all runs together, and says what the sweep takes', () => {
  const report = {
    ...{ recipe: 'a.yaml', name: 'a', currency: 'EUR', backend: 'tensorflow', memoryBytes: 16e9, fits: true },
    ...mergePlans(configs, plans, { ...sweep, budgetSeconds: 600 }),
  };
  const lines = renderSweepPlan(report, 120, paintFor(false));
  expect(lines).toContain('sft-1-train   run for 4 runs      10  1 min 40 s  2.0 GB  1.00  why');
  expect(lines).toContain('soft-2-train  run 4               40  6 min 40 s  2.0 GB  4.00  why');
  expect(lines).toContain('  1  soft.curriculumAlpha=0.1');
  expect(lines.slice(-4)).toEqual([
    '24 steps, 9 of them shared: 1 to reuse, 0 to resume, 14 to run.',
    'Takes about 15 min 00 s of one trainer (9.00 EUR) when the worse half ends after rounds 2, 3; at most 23 min 20 s of one trainer (14.00 EUR).',
    'Measured here with tensorflow; a trainer needs 2.0 GB of the 16 GB of memory.',
    'That is more than the budget of 10 min 00 s: when it is used up only the best run goes on.',
  ]);
});
