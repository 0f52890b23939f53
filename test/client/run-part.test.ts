import { expect, test } from 'vitest';
import { requireSense, stepRange } from '../../client/run-part.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { plannedSteps } from '../../workflows/run-plan.ts';
import { initialState, toStatus } from '../../workflows/run-state.ts';
import { tinyConfig } from '../support/soft-run.ts';

const config = RunConfigSchema.parse(tinyConfig());

/** A run that has done every step up to one. */
function standingAt(id: string) {
  const steps = plannedSteps(config);
  const last = steps.findIndex((step) => step.id === id);
  for (const step of steps.slice(0, last + 1)) Object.assign(step, { state: 'run', key: 'k' });
  return toStatus('tiny-1', 'stopped', initialState(1, steps));
}

test('a stage begins with its first step and ends with its last; a single step is both', () => {
  expect(stepRange(config, { from: 'curriculum', until: 'test' })).toEqual({
    from: 'soft-0-distance',
    lastStep: 'test-soft',
  });
  expect(stepRange(config, { from: 'sft-2-train', until: 'sft-2-train' })).toEqual({
    from: 'sft-2-train',
    lastStep: 'sft-2-train',
  });
  expect(stepRange(config, {})).toEqual({});
});

test('a name that is none is refused with the one that was meant, and an end before the beginning', () => {
  for (const [name, meant] of [
    ['slef-distil', 'self-distil'],
    ['curriculm', 'curriculum'],
    ['sft-2-trian', 'sft-2-train'],
  ])
    expect(() => stepRange(config, { until: name as string })).toThrowError(
      expect.objectContaining({ code: 'PART_UNKNOWN', message: expect.stringContaining(`did you mean "${meant}"?`) }),
    );
  expect(() => stepRange(config, { from: 'sft-9-train' })).toThrowError(/is no step of this run/);
  expect(() => stepRange(config, { from: 'test', until: 'sft' })).toThrowError(
    expect.objectContaining({ code: 'PART_REFUSED', message: expect.stringContaining('sft comes before test') }),
  );
});

test('what makes no sense where a run stands is refused, with where it stands', () => {
  const run = standingAt('self-distil');
  const refusal = (part: { from?: string; until?: string }) => () => requireSense(config, run, stepRange(config, part));
  expect(refusal({ until: 'sft' })).toThrowError('it stands at self-distil');
  expect(refusal({ until: 'self-distil' })).toThrowError('has done self-distil');
  expect(refusal({ from: 'test' })).toThrowError('has not come to test-popularity');
  for (const part of [{}, { until: 'curriculum' }, { from: 'sft' }, { from: 'sft', until: 'sft' }])
    expect(refusal(part)).not.toThrow();
});
