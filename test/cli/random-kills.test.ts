import { expect, test } from 'vitest';
import { RandomKills } from '../../cli/random-kills.ts';
import type { StepStatus } from '../../workflows/run-state.ts';
import { initialState, toStatus } from '../../workflows/run-state.ts';

const plan: StepStatus[] = ['prepareData', 'trainEpoch', 'evaluate', 'release'].map((step) => ({
  ...{ id: step, label: step, state: 'pending' as const, stage: 'sft' as const },
  step: step as StepStatus['step'],
}));

/** The run while one step of the plan is at work. */
function running(step: string, position?: string, secondsLeft = 10) {
  const steps = plan.map((each) => ({ ...each, state: each.step === step ? ('running' as const) : each.state }));
  const status = toStatus('a-1', 'running', initialState(1, steps));
  const progress = position
    ? [{ step: step as StepStatus['step'], position, done: 1, total: 2, unit: 'x', secondsLeft }]
    : [];
  return { status, progress };
}

test('each chosen step is hit once, a random time after its first progress', async () => {
  const asked: number[] = [];
  const kills = new RandomKills(
    2,
    async (victims) => victims,
    (below) => {
      asked.push(below);
      return below - 1;
    },
  );
  await kills.see(running('prepareData'), 0);
  await kills.see(running('trainEpoch', 'micro-batch 1'), 1000);
  expect(asked.at(-1)).toBe(8000);
  await kills.see(running('trainEpoch', 'micro-batch 2'), 8000);
  expect(kills.done).toEqual([]);
  await kills.see(running('trainEpoch', 'micro-batch 3'), 9000);
  await kills.see(running('trainEpoch', 'micro-batch 3'), 30_000);
  expect(kills.done).toEqual([{ step: 'trainEpoch', position: 'micro-batch 3', victims: 'both' }]);
  await kills.see(running('evaluate'), 40_000);
  await kills.see(running('evaluate'), 69_999);
  expect(kills.done).toHaveLength(1);
  await kills.see(running('evaluate'), 70_000);
  expect(kills.done.at(-1)).toMatchObject({ step: 'evaluate', position: 'before its first heartbeat' });
  await kills.see(running('release'), 50_000);
  expect(kills.done).toHaveLength(2);
});

test('a step that escaped leaves its kill to the next, which is hit at once', async () => {
  const kills = new RandomKills(
    3,
    async (victims) => victims,
    (below) => below - 1,
  );
  await kills.see(running('trainEpoch'), 0);
  await kills.see(running('evaluate'), 100);
  expect(kills.done).toMatchObject([{ step: 'evaluate' }]);
});

test('a step that was never seen leaves its kill to the next, and so does one with nobody to kill', async () => {
  const there = [undefined, 'trainer' as const];
  const kills = new RandomKills(
    1,
    async () => there.shift(),
    () => 0,
  );
  await kills.see(running('prepareData'), 0);
  await kills.see(running('evaluate'), 1);
  await kills.see(running('evaluate'), 30_001);
  expect(kills.done).toEqual([]);
  await kills.see(running('evaluate'), 30_002);
  expect(kills.done).toMatchObject([{ step: 'evaluate', victims: 'trainer' }]);
});
