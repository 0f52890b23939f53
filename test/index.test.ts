import { readFile } from 'node:fs/promises';
import type { WorkerPlugin } from '@temporalio/worker';
import { describe, expect, expectTypeOf, it, test } from 'vitest';
import type {
  Activities,
  ArtifactRef,
  Metrics,
  Replacements,
  RunConfig,
  RunConfigInput,
  StepBody,
  StepInputs,
  StepOutputs,
} from '../index.ts';
import * as softflow from '../index.ts';

/** Types of the public API: checked by `npm run check`, which compiles this file. */
describe('the types of the API', () => {
  it('fill in defaults, and know which fields a run needs', () => {
    expectTypeOf(softflow.defineRun).parameter(0).toEqualTypeOf<RunConfigInput>();
    expectTypeOf(softflow.defineRun).returns.toEqualTypeOf<RunConfig>();
    expectTypeOf<RunConfig['soft']['curriculumAlpha']>().toEqualTypeOf<number>();
    expectTypeOf<RunConfig['stepQueues']['evaluate']>().toEqualTypeOf<string | undefined>();
    // @ts-expect-error a run needs data
    const withoutData: RunConfigInput = { model: { source: { folder: 'model' } } };
    // @ts-expect-error no such backend of a model
    const otherSource: RunConfigInput['model'] = { source: { url: 'model' } };
    expect(() => softflow.defineRun(withoutData)).toThrow(softflow.SoftflowError);
    expect(otherSource).toBeDefined();
  });

  it('give each step its own inputs, parameters, outputs and result', () => {
    expectTypeOf<StepInputs<'evaluatePopularity'>>().toEqualTypeOf<
      Record<'windows' | 'items' | 'titles', ArtifactRef> & Partial<Record<never, ArtifactRef>>
    >();
    expectTypeOf<StepInputs<'trainEpoch'>['state']>().toEqualTypeOf<ArtifactRef | undefined>();
    expectTypeOf<StepOutputs<'trainEpoch'>>().toEqualTypeOf<Record<'state' | 'adapter', ArtifactRef>>();
    type Body = StepBody<'evaluatePopularity'>;
    expectTypeOf<Parameters<Body>[1]['params']['ks']>().toEqualTypeOf<number[]>();
    expectTypeOf<Awaited<ReturnType<Body>>['result']>().toEqualTypeOf<Metrics>();
  });

  it('refuse replacements that do not fit', () => {
    const compute = async () => ({ outputs: {}, result: null });
    // @ts-expect-error the report has four files
    const noFiles: Replacements = { renderReport: { contractVersion: 1000, compute } };
    // @ts-expect-error a version is needed
    const noVersion: Replacements = { renderReport: { compute } };
    // @ts-expect-error no such activity
    const noActivity: Replacements = { renderReports: { contractVersion: 1000, compute } };
    // @ts-expect-error look-ups make the keys that everything rests on
    const lookUp: Replacements = { lookUpStep: async () => ({ key: '' }) };
    const own: Replacements = { notify: async ({ notification }) => void notification.event };
    expect([noFiles, noVersion, noActivity, lookUp, own]).toHaveLength(5);
  });

  it('fit where Temporal takes activities and plugins', () => {
    expectTypeOf<softflow.SoftflowPlugin>().toExtend<WorkerPlugin>();
    expectTypeOf(softflow.createActivities).returns.toEqualTypeOf<Activities>();
  });
});

test('the package exports what it declares, and no value more', async () => {
  const declared = await readFile(new URL('../index.ts', import.meta.url), 'utf8');
  const blocks = [...declared.matchAll(/^export \{([^}]*)\}/gm)].flatMap((match) => (match[1] as string).split(','));
  const values = blocks.map((name) => name.trim()).filter((name) => name !== '' && !name.startsWith('type '));
  expect(Object.keys(softflow).sort()).toEqual(values.sort());
});
