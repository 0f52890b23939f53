import { describe, expect, expectTypeOf, it } from 'vitest';
import type { Metrics as ContractMetrics, StepTelemetry, TrainEpochResult } from '../../activities/contracts.ts';
import type { Metrics } from '../../report/metrics.ts';
import { buildRunSummary, metricsJson, telemetryJson } from '../../report/run-summary.ts';
import type { EpochInput, ReportConfig, StepInput } from '../../report/summary-types.ts';
import type { RunConfig } from '../../workflows/run-config.ts';
import { predictions, smallRun, WINDOWS } from './fixtures.ts';

describe('run summary', () => {
  const summary = buildRunSummary(smallRun());

  it('takes what config and steps give as they are', () => {
    expectTypeOf<RunConfig>().toExtend<ReportConfig>();
    expectTypeOf<StepTelemetry>().toExtend<StepInput['telemetry']>();
    expectTypeOf<TrainEpochResult>().toExtend<EpochInput>();
    expectTypeOf<ContractMetrics>().toEqualTypeOf<Metrics>();
  });

  it('holds every model on the same windows, base model first', () => {
    expect(summary.models.map((model) => model.id)).toEqual(['zeroShot', 'popularity', 'sft', 'soft']);
    expect(summary.models.map((model) => model.metrics.windows)).toEqual(Array(4).fill(WINDOWS));
    expect(summary.models[3]?.metrics.hr).toEqual({ 1: 1 / 64, 5: 2 / 64, 10: 2 / 64, 20: 2 / 64, 50: 2 / 64 });
    expect(summary.models[1]?.metrics.existingTitles).toBeUndefined();
  });

  it('counts the most frequent texts', () => {
    expect(summary.models[0]?.topTexts).toEqual([{ text: 'Here are some movies', count: 64, exists: true }]);
    expect(summary.models[3]?.topTexts[0]?.count).toBe(22);
  });

  it('takes examples in sampling order, whatever their rank', () => {
    expect(summary.examples).toHaveLength(8);
    expect(summary.examples[1]).toMatchObject({ windowId: 'user1:10', truth: expect.stringContaining('<script>') });
    expect(summary.examples[3]?.answers).toEqual([
      { model: 'sft', generated: 'Title number 3', exists: false, grounded: 'Title number 3', rank: 9 },
      { model: 'soft', generated: expect.any(String), exists: false, grounded: 'Title number 3', rank: 250 },
    ]);
  });

  it('is plain JSON and the same for the same tables', () => {
    expect(JSON.parse(JSON.stringify(summary))).toEqual(JSON.parse(JSON.stringify(buildRunSummary(smallRun()))));
  });

  it('counts only the work of this run', () => {
    expect(summary.telemetry.seconds).toBeCloseTo(150.8, 6);
    expect(summary.telemetry.resumes).toBe(1);
  });

  it('refuses predictions of other windows, naming the row', () => {
    const foreign = predictions(() => 1).reverse();
    expect(() => buildRunSummary(smallRun({ predictions: { sft: foreign } }))).toThrow(
      /sft.*user63:10.*user0:10.*row 0/,
    );
    const short = predictions(() => 1).slice(0, 10);
    expect(() => buildRunSummary(smallRun({ predictions: { sft: short } }))).toThrow(/got window none.*row 10/);
  });
});

describe('files of a run', () => {
  it('metrics.json holds results only', () => {
    const input = smallRun();
    const slower = { ...input, steps: input.steps.map((step) => ({ ...step, telemetry: { seconds: 9, resumes: 3 } })) };
    const metrics = metricsJson(buildRunSummary(input));
    expect(metricsJson(buildRunSummary(slower))).toEqual(metrics);
    expect(metrics).toMatchObject({
      models: {
        popularity: { test: { windows: 64 } },
        zeroShot: { test: { distinctTexts: 1 } },
        sft: { test: { hr: { 10: 1 / 64 } } },
        soft: { test: { existingTitles: 0.25 } },
        chance: { hr: { 10: 10 / 1152 } },
      },
      curriculum: [{ epoch: 1, lambda: 1 }, { epoch: 2 }],
      digests: { sftAdapter: '1'.repeat(64) },
    });
  });

  it('telemetry.json holds seconds, rate and resumes of each step', () => {
    expect(telemetryJson(buildRunSummary(smallRun()))).toMatchObject({
      steps: { 'sft epoch 1': { step: 'trainEpoch', seconds: 75.4, rate: 1.25, resumes: 1 } },
    });
  });
});
