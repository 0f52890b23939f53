import { CIRCUMSTANCES, MAX_SWEEP_RUNS, type Settings } from '../client/sweep-ranking.ts';
import { SoftflowError } from '../errors.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { valueAt } from './config-faults.ts';
import { type LoadedConfig, type LoadOptions, loadConfigFile } from './config-file.ts';
import { shownOption } from './config-secrets.ts';

/** One `--grid key=value,value`. */
interface Axis {
  option: string;
  key: string;
  values: string[];
}

export interface LoadedGrid extends LoadedConfig {
  /** What differs from run to run: every combination, the last axis fastest. */
  runs: Settings[];
  /** The recipe of each run. */
  configs: RunConfig[];
}

const AXIS = /^\s*([A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*)\s*=(.*)$/s;
/** Sources have alternatives, of which a value names one, so the whole of it differs. */
const SOURCE = /^((?:model|data)\.source)\..+$/;

/**
 * A recipe with every combination of a grid, each checked as a recipe.
 *
 * @param grid texts as after `--grid`: `soft.curriculumAlpha=0.1,1,10`
 * @throws SoftflowError `CONFIG_INVALID` with every fault at once, `CONFIG_UNREADABLE`
 */
export function loadGrid(recipe: string, grid: readonly string[], options: LoadOptions = {}): LoadedGrid {
  const loaded = loadConfigFile(recipe, options);
  const { axes, faults } = parseAxes(grid);
  const count = axes.reduce((product, { values }) => product * values.length, 1);
  if (count > MAX_SWEEP_RUNS) faults.push(`--grid: ${count} combinations; a sweep has ${MAX_SWEEP_RUNS} runs at most`);
  if (faults.length > 0) throw invalid(faults);
  const loads = combinations(axes).map((combination) => loadRun(recipe, combination, options, faults));
  if (faults.length > 0) throw invalid([...new Set(faults)]);
  const all = loads as GridRun[];
  const runs = all.map(({ settings }) => settings);
  const twice = axes.flatMap(({ option, key }, i) =>
    hasTwice(axes, i, runs) ? [`--grid ${shownOption(option)}: ${key} has one value twice`] : [],
  );
  if (twice.length > 0) throw invalid(twice);
  return { ...loaded, runs, configs: all.map(({ config }) => config) };
}

function parseAxes(grid: readonly string[]): { axes: Axis[]; faults: string[] } {
  const axes: Axis[] = [];
  const faults: string[] = [];
  for (const option of grid) {
    const [, key, text = ''] = AXIS.exec(option) ?? [];
    const values = splitValues(text);
    const fault = key === undefined || values.some((value) => value === '') ? EXPECTED : faultOfKey(key, axes);
    if (fault !== undefined) faults.push(`--grid ${shownOption(option)}: ${fault}`);
    else axes.push({ option, key: key as string, values });
  }
  if (grid.length === 0) faults.push(`--grid: ${EXPECTED}`);
  return { axes, faults };
}

const EXPECTED = 'expected key=value,value ..., for instance --grid soft.curriculumAlpha=0.1,1,10,100';

function faultOfKey(key: string, before: readonly Axis[]): string | undefined {
  const [section = ''] = key.split('.');
  if (before.some((axis) => axis.key === key)) return `${key} is given twice; write all its values in one --grid`;
  return CIRCUMSTANCES.has(section)
    ? `${key} cannot change what a run computes, so its values need no runs of their own`
    : undefined;
}

/** At commas outside of brackets: `[q_proj],[q_proj,v_proj]` are two values. */
function splitValues(text: string): string[] {
  const values = [''];
  let depth = 0;
  for (const character of text) {
    if (character === '[' || character === '{') depth++;
    if (character === ']' || character === '}') depth--;
    if (character === ',' && depth <= 0) values.push('');
    else values[values.length - 1] += character;
  }
  return values.map((value) => value.trim());
}

type Choice = { axis: Axis; value: string };

function combinations(axes: readonly Axis[]): Choice[][] {
  return axes.reduce<Choice[][]>(
    (all, axis) => all.flatMap((choices) => axis.values.map((value) => [...choices, { axis, value }])),
    [[]],
  );
}

interface GridRun {
  /** The resolved values of one combination. */
  settings: Settings;
  config: RunConfig;
}

/** Undefined with faults, which are named by the `--grid` that they come from. */
function loadRun(
  recipe: string,
  choices: readonly Choice[],
  options: LoadOptions,
  faults: string[],
): GridRun | undefined {
  const overrides = choices.map(({ axis, value }) => `${axis.key}=${value}`);
  try {
    const { config } = loadConfigFile(recipe, { ...options, overrides: [...(options.overrides ?? []), ...overrides] });
    return { config, settings: Object.fromEntries(choices.map(({ axis: { key } }) => entryOf(config, key))) };
  } catch (error) {
    if (!(error instanceof SoftflowError) || error.code !== 'CONFIG_INVALID') throw error;
    const named = (error.details['faults'] as string[]).map((line) =>
      overrides.reduce(
        (text, option) => text.replace(`-s ${shownOption(option)}:`, `--grid ${shownOption(option)}:`),
        line,
      ),
    );
    faults.push(...named);
    return undefined;
  }
}

function entryOf(config: RunConfig, key: string): [string, unknown] {
  const name = SOURCE.exec(key)?.[1] ?? key;
  return [name, valueAt(config, name.split('.'))];
}

/** Whether two values of an axis, such as 1 and 1.0, are the same one. */
function hasTwice(axes: readonly Axis[], axis: number, runs: readonly Settings[]): boolean {
  const { key, values } = axes[axis] as Axis;
  const name = SOURCE.exec(key)?.[1] ?? key;
  return new Set(runs.map((settings) => JSON.stringify(settings[name]))).size < values.length;
}

function invalid(faults: string[]): SoftflowError {
  const head = faults.length === 1 ? '' : `${faults.length} faults in the config\n`;
  return new SoftflowError('CONFIG_INVALID', `${head}${faults.join('\n')}`, { details: { faults } });
}
