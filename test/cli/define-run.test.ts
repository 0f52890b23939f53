import { describe, expect, it } from 'vitest';
import { defineRun } from '../../cli/define-run.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';

const GOOD: RunConfigInput = {
  model: { source: { registry: 'smollm2-135m-instruct' } },
  data: { source: { planted: {} } },
};

describe('defineRun', () => {
  it('fills in every default', () => {
    expect(defineRun(GOOD)).toMatchObject({
      name: 'soft',
      train: { batchSize: 256 },
      data: { source: { planted: { series: 70 } } },
    });
  });

  it('reports every fault at once, by field', () => {
    const bad = { ...GOOD, train: { batchSize: 0 }, soft: { curiculumAlpha: 1 } } as RunConfigInput;
    expect(() => defineRun(bad)).toThrow(
      'train.batchSize: expected a whole number of 1 or more, got 0\n' +
        'soft.curiculumAlpha: unknown key, did you mean "curriculumAlpha"?',
    );
  });
});
