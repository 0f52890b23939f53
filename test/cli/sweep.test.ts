import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { planOf } from '../../cli/commands/sweep.ts';
import { loadGrid } from '../../cli/sweep-grid.ts';
import { renderSweep, sweepEventLine, sweepEvents } from '../../cli/sweep-view.ts';
import { openTerminal } from '../../cli/terminal.ts';
import { SoftflowError } from '../../errors.ts';
import type { SweepRun } from '../../workflows/sweep-state.ts';
import { liveSweep } from '../ui/fixtures.ts';

let folder: string;
let recipe: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'softflow-grid-'));
  recipe = join(folder, 'my.yaml');
  writeFileSync(recipe, 'model: { source: { registry: smollm2-135m-instruct } }\ndata: { source: { planted: {} } }\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

const runsOf = (...grid: string[]) => loadGrid(recipe, grid, { cwd: folder }).runs;
const faultsOf = (...grid: string[]): string[] => {
  try {
    runsOf(...grid);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(SoftflowError);
    expect((error as SoftflowError).code).toBe('CONFIG_INVALID');
    return (error as SoftflowError).details['faults'] as string[];
  }
};

describe('a grid', () => {
  test('is every combination of its values, the last axis fastest, each as the schema types it', () => {
    expect(runsOf('soft.curriculumAlpha=0.1,1', 'train.select=best, last')).toEqual([
      { 'soft.curriculumAlpha': 0.1, 'train.select': 'best' },
      { 'soft.curriculumAlpha': 0.1, 'train.select': 'last' },
      { 'soft.curriculumAlpha': 1, 'train.select': 'best' },
      { 'soft.curriculumAlpha': 1, 'train.select': 'last' },
    ]);
    expect(runsOf('seed=7')).toEqual([{ seed: 7 }]);
  });

  test('takes lists in brackets as one value each, and sources as a whole with their paths resolved', () => {
    expect(runsOf('lora.targets=[q_proj],[q_proj,v_proj]')).toEqual([
      { 'lora.targets': ['q_proj'] },
      { 'lora.targets': ['q_proj', 'v_proj'] },
    ]);
    expect(runsOf(`model.source.folder=.,${folder}/../${folder.split('/').at(-1)}/.//`).length).toBe(2);
    expect(runsOf('model.source.folder=.')).toEqual([{ 'model.source': { folder } }]);
  });

  test.each([
    ['soft.curiculumAlpha=1,2', /^--grid soft\.curiculumAlpha=1: .*did you mean "curriculumAlpha"\?/],
    ['soft.curriculumAlpha=1,-2', /^--grid soft\.curriculumAlpha=-2: .*0/],
    ['soft.curriculumAlpha=fast', /^--grid soft\.curriculumAlpha=fast: .*number/],
    ['soft.curriculumAlpha', /^--grid soft\.curriculumAlpha: expected key=value,value/],
    ['soft.curriculumAlpha=1,,2', /^--grid soft\.curriculumAlpha=1,,2: expected key=value,value/],
    ['soft.curriculumAlpha=1,1.0', /^--grid soft\.curriculumAlpha=1,1\.0: soft\.curriculumAlpha has one value twice/],
    ['name=a,b', /^--grid name=a,b: name cannot change what a run computes/],
    [`seed=${Array.from({ length: 65 }, (_, i) => i).join(',')}`, /^--grid: 65 combinations; .* 64 runs at most/],
  ])('refuses %s', (grid, fault) => {
    const faults = faultsOf(grid);
    expect(faults[0]).toMatch(fault);
  });

  test('names every fault of all axes at once, and a key that is given twice', () => {
    expect(faultsOf('soft.curiculumAlpha=1', 'train.maxEpoch=2')).toHaveLength(2);
    expect(faultsOf('seed=1,2', 'seed=3')[0]).toContain('seed is given twice');
    expect(faultsOf()[0]).toContain('expected key=value,value');
  });
});

test('a budget is a duration and so many runs at a time a whole number', () => {
  const plan = (maxParallel: string, budget?: string) =>
    planOf([{}], { grid: [], maxParallel, earlyStop: true, ...(budget === undefined ? {} : { budget }) });
  expect(plan('2', '6h')).toEqual({ runs: [{}], maxParallel: 2, earlyStop: true, budgetSeconds: 21_600 });
  for (const wrong of ['0', '1.5', 'two', ''])
    expect(() => plan(wrong)).toThrow(/--max-parallel: expected a whole number/);
  for (const wrong of ['6', '0h', 'six']) expect(() => plan('1', wrong)).toThrow(/--budget: expected a duration/);
});

describe('the ranking', () => {
  const { paint } = openTerminal({ env: {} });

  test('is best first, with what each run does or why it has ended, and fits the terminal', () => {
    const lines = renderSweep(liveSweep(), 200, paint);
    expect(lines[0]).toBe('demo-sweep-0000aaaa running 1 min 15 s');
    expect(lines[1]).toBe('  the worse half ends after round 2, 4; 2 at a time; budget 1 h 00 min');
    expect(lines[3]).toMatch(/^1 +-2 +soft\.curriculumAlpha=2 .* running +3 +0\.25 +SFT epoch 2: train, 31 %$/);
    expect(lines[4]).toMatch(/^2 +-1 +.* stopped +2 +0\.1 +not in the better half after round 2$/);
    expect(lines[5]).toMatch(/^3 +-3 +.* pending +0/);
    for (const line of renderSweep(liveSweep(), 60, paint)) expect(line.length).toBeLessThan(60);
    const paused = liveSweep();
    paused.status.phase = 'paused';
    expect(renderSweep(paused, 200, paint).at(-1)).toBe('  Paused. To go on: softflow resume demo-sweep-0000aaaa');
  });

  test('as events tells each run when its phase, round or value changes', () => {
    const before = liveSweep();
    const first = sweepEvents(undefined, before);
    expect(first.map(({ event }) => event)).toEqual(['phase', 'run', 'run', 'run']);
    expect(sweepEvents(before, liveSweep())).toEqual([]);
    const now = liveSweep();
    Object.assign(now.status.runs[2] as SweepRun, { phase: 'running', round: 1, value: 0.3 });
    const [event, ...more] = sweepEvents(before, now);
    expect(more).toEqual([]);
    expect(event).toMatchObject({ event: 'run', runId: 'demo-sweep-0000aaaa-3', rank: 1, round: 1, value: 0.3 });
    expect(sweepEventLine(event!)).toMatch(/^demo-sweep-0000aaaa-3 \(.*\): running, round 1: 0\.3, rank 1$/);
  });

  test('shows nothing that a settings text may hide', () => {
    const look = liveSweep();
    (look.status.runs[0] as SweepRun).settings = { name: '\u001b[2Jgone' };
    expect(renderSweep(look, 200, paint).join('')).not.toContain('\u001b');
  });
});
