import { describe, expect, it } from 'vitest';
import { compareRuns, configDifferences } from '../../report/compare.ts';
import { renderComparison } from '../../report/compare-table.ts';
import { buildRunSummary } from '../../report/run-summary.ts';
import type { RunSummary, RunSummaryInput } from '../../report/summary-types.ts';
import { HOSTILE, predictions, smallRun } from './fixtures.ts';

/** A run whose lineage names the tables that decide comparability. */
function summary(change: Partial<RunSummaryInput> = {}, windowsDigest = 'a'): RunSummary {
  const input = smallRun(change);
  const table = (name: string, letter: string) => ({
    [name]: { uri: `blobs/${letter}`, sha256: letter.repeat(64), bytes: 1 },
  });
  const steps = input.steps.map((step) =>
    step.step === 'prepareData'
      ? {
          ...step,
          outputs: { ...table('windowsTest', windowsDigest), ...table('items', 'b'), ...table('titles', 'c') },
        }
      : step,
  );
  return buildRunSummary({ ...input, steps });
}

/** SOFT hits on the first 20 windows. */
const better = () =>
  summary({
    runId: 'better-1',
    config: { ...smallRun().config, soft: { curriculumAlpha: 1 } },
    predictions: { ...smallRun().predictions, soft: predictions((row) => (row < 20 ? 1 : 250)) },
  });

describe('compareRuns', () => {
  it('finds a difference on the same windows, and none where the models are the same', () => {
    const { results, config, windows, k } = compareRuns(summary(), better());
    expect({ windows, k }).toEqual({ windows: 64, k: 10 });
    expect(config).toEqual([{ key: 'soft.curriculumAlpha', first: 10, second: 1 }]);
    const soft = results.find(({ model, kind }) => model === 'soft' && kind === 'hr');
    expect(soft).toMatchObject({ first: 2 / 64, second: 20 / 64, verdict: 'better' });
    expect(soft?.difference).toMatchObject({ mean: 18 / 64, wins: 18, losses: 0 });
    expect(results.find(({ model, kind }) => model === 'sft' && kind === 'ndcg')).toMatchObject({
      difference: { mean: 0, wins: 0, losses: 0 },
      verdict: 'within noise',
    });
  });

  it('is turned around by turning the runs around', () => {
    const forth = compareRuns(summary(), better()).results.find(({ model }) => model === 'soft');
    const back = compareRuns(better(), summary()).results.find(({ model }) => model === 'soft');
    expect(back?.difference.mean).toBe(-(forth?.difference.mean ?? 0));
    expect(back?.verdict).toBe('worse');
  });

  it('gives each slice its own windows, which add up', () => {
    const { slices } = compareRuns(summary(), better());
    const soft = slices.filter(({ model, by }) => model === 'soft' && by === 'popularity');
    expect(soft.length).toBeGreaterThan(1);
    expect(soft.reduce((sum, slice) => sum + slice.windows, 0)).toBe(64);
    expect(soft.reduce((sum, slice) => sum + slice.windows * slice.second, 0)).toBeCloseTo(20, 9);
  });

  it('refuses runs on other windows and names the fields that differ', () => {
    const other = summary({ config: { ...smallRun().config, seed: 7 } }, 'd');
    expect(() => compareRuns(summary(), other)).toThrow(
      expect.objectContaining({ code: 'COMPARE_REFUSED', message: expect.stringContaining('differ in seed') }),
    );
    expect(() => compareRuns(summary(), summary({}, 'd'))).toThrow('data files are not those of before');
  });

  it('refuses a K that was not measured', () => {
    expect(() => compareRuns(summary(), better(), 7)).toThrow('a K that both runs measured (1, 5, 10, 20, 50), got 7');
    expect(compareRuns(summary(), better(), 20).k).toBe(20);
  });

  it('says why an interval without 0 is noise where few windows differ', () => {
    const few = summary({
      predictions: { ...smallRun().predictions, soft: predictions((row) => (row < 7 ? 1 : 250)) },
    });
    const lines = renderComparison(compareRuns(summary(), few));
    expect(lines.find((line) => line.startsWith('SOFT HR@10'))).toMatch(/\+\.078 +\[\+\.016, .* 5\/0 +within noise$/);
    expect(lines.at(-1)).toContain('fewer than 6 windows differ');
    expect(renderComparison(compareRuns(summary(), better())).at(-1)).not.toContain('fewer than');
  });

  it('prints settings, models and slices on lines of their own, nothing hostile among them', () => {
    const lines = renderComparison(compareRuns(summary({ runId: HOSTILE }), better()));
    expect(lines).toContain('soft.curriculumAlpha  10  1');
    expect(lines.find((line) => line.startsWith('SOFT HR@10'))).toMatch(/\.0313 +\.3125 +\+\.281 .* 18\/0 +better$/);
    expect(lines.join('\n')).toContain('train windows with the same target title: ');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(lines.join('')).not.toMatch(/[\u0000-\u001f\u202e]/);
  });
});

describe('configDifferences', () => {
  it('names leaves, takes lists as a whole and leaves the name out', () => {
    expect(
      configDifferences({ name: 'a', x: { y: 1, z: [1, 2] }, only: true }, { name: 'b', x: { y: 1, z: [2, 1] } }),
    ).toEqual([
      { key: 'only', first: true, second: undefined },
      { key: 'x.z', first: [1, 2], second: [2, 1] },
    ]);
  });
});
