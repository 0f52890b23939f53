import { relative } from 'node:path';
import type { Overlap } from '../../client/schedule-spec.ts';
import type { ScheduleSummary, ScheduleView } from '../../client/schedule-view.ts';
import type { ScheduleChange, Schedules } from '../../client/schedules.ts';
import { SoftflowError } from '../../errors.ts';
import type { SweepPlan } from '../../workflows/sweep-state.ts';
import { loadConfigFile } from '../config-file.ts';
import { EXIT } from '../exit-codes.ts';
import { formatSeconds } from '../format.ts';
import { hasStore, openSession } from '../session.ts';
import { runSetup, setupNeeds } from '../setup-run.ts';
import { loadGrid } from '../sweep-grid.ts';
import { oneLine, type Terminal } from '../terminal.ts';
import { type GridOptions, planOf } from './sweep.ts';

interface JsonOption {
  json?: boolean;
}
export interface UpdateOptions extends GridOptions, JsonOption {
  cron?: string;
  every?: string;
  tz?: string;
  overlap?: Overlap;
  catchup?: string;
  pauseOnFailure?: boolean;
  set: string[];
  /** False: `--no-sweep`. */
  sweep?: boolean;
}
interface NoteOption extends JsonOption {
  note?: string;
}
export interface BackfillOptions extends JsonOption {
  from: string;
  to: string;
  overlap: Overlap;
}

const SUMMARY_WIDTH = 240;

async function withSchedules<T>(
  work: (schedules: Schedules) => Promise<T>,
  server: 'start' | 'if running',
): Promise<T> {
  const session = await openSession({ server });
  try {
    return await work(await session.schedules());
  } finally {
    await session.close();
  }
}

/** Schedules of a configured server, which is just asked, or of this folder's embedded one. */
async function withKnown<T>(work: (schedules: Schedules) => Promise<T>, embedded: 'start' | 'if running'): Promise<T> {
  if (await nowhere()) return withSchedules(work, 'if running');
  return withSchedules(work, hasStore() ? embedded : 'start');
}

/** Looking starts no embedded server: that would let its schedules start retrains. */
const lookAt = <T>(work: (schedules: Schedules) => Promise<T>): Promise<T> => withKnown(work, 'if running');
const alter = <T>(work: (schedules: Schedules) => Promise<T>): Promise<T> => withKnown(work, 'start');

/** A folder in which nothing was begun has no schedules, and an embedded server need not be started to say so. */
async function nowhere(): Promise<boolean> {
  if (hasStore()) return false;
  const { configuredTarget } = await import('../../client/connect.ts');
  return !configuredTarget();
}

/** Sets up what the recipe needs, and hands it to the server with its times. */
export async function create(
  name: string,
  recipe: string,
  options: UpdateOptions,
  terminal: Terminal,
): Promise<number> {
  const change = changeOf(recipe, options);
  const { configuredTarget } = await import('../../client/connect.ts');
  if (!configuredTarget()) await runSetup({ ...setupNeeds(change.config), temporal: true }, terminal);
  const view = await withSchedules(async (schedules) => {
    await schedules.create(name, change);
    return schedules.describe(name);
  }, 'start');
  if (options.json) terminal.out(JSON.stringify(view, null, 2));
  else {
    terminal.out(`Schedule ${name} retrains ${recipe}; next: ${view.next[0] ?? 'never'}.`);
    terminal.out(`Now: softflow schedule trigger ${name}. What becomes of it: softflow schedule describe ${name}`);
  }
  if (change.config.promote.mode === 'never')
    terminal.err('promote.mode of the recipe is never: it trains, and promotes nothing.');
  return EXIT.ok;
}

export async function update(
  name: string,
  recipe: string | undefined,
  options: UpdateOptions,
  terminal: Terminal,
): Promise<number> {
  const ofRecipe = options.grid.length > 0 ? '--grid' : options.set.length > 0 ? '--set' : undefined;
  if (recipe === undefined && ofRecipe !== undefined)
    throw new SoftflowError('USAGE', `${ofRecipe}: name the recipe too, because it is checked together with it.`);
  const change: ScheduleChange = {
    ...(recipe === undefined ? timesOf(options) : changeOf(recipe, options)),
    ...(options.sweep === false ? { sweep: null } : {}),
  };
  if (Object.keys(change).length === 0)
    throw new SoftflowError(
      'USAGE',
      'Nothing to change: name the recipe or an option, see softflow schedule update --help.',
    );
  await alter((schedules) => schedules.update(name, change));
  return tell(name, 'updated', `is changed. See: softflow schedule describe ${name}`, options, terminal);
}

/** What was done to a schedule, as a sentence or as JSON. */
function tell(schedule: string, event: string, sentence: string, { json }: JsonOption, terminal: Terminal): number {
  terminal.out(json ? JSON.stringify({ schedule, event }) : `Schedule ${schedule} ${sentence}`);
  return EXIT.ok;
}

function changeOf(recipe: string, options: UpdateOptions) {
  const { config, file, runs } =
    options.grid.length > 0
      ? loadGrid(recipe, options.grid, { overrides: options.set })
      : { ...loadConfigFile(recipe, { overrides: options.set }), runs: undefined };
  const sweep = runs && planOf(runs, options);
  return { config, recipe: relative(process.cwd(), file), ...(sweep ? { sweep } : {}), ...timesOf(options) };
}

function timesOf({ cron, every, tz, overlap, catchup, pauseOnFailure }: UpdateOptions) {
  return {
    ...(cron === undefined ? {} : { cron }),
    ...(every === undefined ? {} : { every }),
    ...(tz === undefined ? {} : { timezone: tz }),
    ...(overlap === undefined ? {} : { overlap }),
    ...(catchup === undefined ? {} : { catchup }),
    ...(pauseOnFailure === undefined ? {} : { pauseOnFailure }),
  };
}

export async function list(options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const schedules = (await nowhere()) ? [] : await lookAt((all) => all.list());
  if (options.json) terminal.out(JSON.stringify(schedules, null, 2));
  else if (schedules.length === 0)
    terminal.out('No schedules yet. Next: softflow schedule create nightly my.yaml --cron "0 3 * * *"');
  else for (const schedule of schedules) terminal.out(listed(schedule));
  return EXIT.ok;
}

function listed({ name, times, timezone, paused, note, next }: ScheduleSummary): string {
  const state = paused ? `paused${note ? `: ${oneLine(note, SUMMARY_WIDTH)}` : ''}` : `next ${next ?? 'never'}`;
  return `${oneLine(name, 64)}  ${oneLine(times.join(', '), 64)} ${oneLine(timezone, 40)}  ${state}`;
}

export async function describe(name: string, options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const view = await lookAt((schedules) => schedules.describe(name));
  if (options.json) terminal.out(JSON.stringify(view, null, 2));
  else for (const line of described(view)) terminal.out(line);
  return EXIT.ok;
}

function described(view: ScheduleView): string[] {
  const { counts, runs } = view;
  const lines = [
    `schedule  ${view.name}${view.paused ? '  PAUSED' : ''}`,
    `recipe    ${oneLine(view.recipe ?? 'unknown', SUMMARY_WIDTH)}`,
    ...(view.sweep ? [`sweep     ${sweepText(view.sweep)}`] : []),
    `times     ${oneLine(view.times.join(', '), SUMMARY_WIDTH)} ${view.timezone}`,
    `policies  overlap ${view.overlap}, catch-up ${formatSeconds(view.catchupSeconds)}${view.pauseOnFailure ? ', pause on failure' : ''}`,
    `started   ${counts.started}, missed ${counts.missed}, skipped for overlap ${counts.skippedForOverlap}`,
    ...(view.note ? [`note      ${oneLine(view.note, SUMMARY_WIDTH)}`] : []),
    'next',
    ...view.next.map((time) => `  ${time}`),
    runs.length > 0 ? 'last, newest first' : 'nothing started yet',
  ];
  const retrains = runs.flatMap(({ scheduledAt, state, summary, status }) => [
    `  ${scheduledAt}  ${state}  ${oneLine(summary, SUMMARY_WIDTH)}`,
    ...(status?.phase === 'preparing' || !status ? [] : [`    run ${status.runId}, data as of ${status.asOf}`]),
  ]);
  return [...lines, ...retrains];
}

function sweepText({ runs, maxParallel, budgetSeconds }: SweepPlan): string {
  const fields = [...new Set(runs.flatMap((settings) => Object.keys(settings)))].join(', ');
  const budget = budgetSeconds === undefined ? '' : `, budget ${formatSeconds(budgetSeconds)}`;
  return `${runs.length} runs over ${oneLine(fields, SUMMARY_WIDTH)}, ${maxParallel} at a time${budget}`;
}

export async function pause(name: string, options: NoteOption, terminal: Terminal): Promise<number> {
  await alter((schedules) => schedules.pause(name, options.note));
  const sentence = `is paused; what is at work goes on. To start again: softflow schedule unpause ${name}`;
  return tell(name, 'paused', sentence, options, terminal);
}

export async function unpause(name: string, options: NoteOption, terminal: Terminal): Promise<number> {
  await alter((schedules) => schedules.unpause(name, options.note));
  return tell(name, 'unpaused', 'starts again at its times.', options, terminal);
}

export async function trigger(
  name: string,
  options: JsonOption & { overlap?: Overlap },
  terminal: Terminal,
): Promise<number> {
  await alter((schedules) => schedules.trigger(name, options.overlap));
  const sentence = `is asked for a retrain now. What becomes of it: softflow schedule describe ${name}`;
  return tell(name, 'triggered', sentence, options, terminal);
}

export async function backfill(name: string, options: BackfillOptions, terminal: Terminal): Promise<number> {
  await alter((schedules) => schedules.backfill(name, options.from, options.to, options.overlap));
  const sentence = `makes up for ${options.from} to ${options.to}. See: softflow schedule describe ${name}`;
  return tell(name, 'backfilled', sentence, options, terminal);
}

export async function remove(name: string, options: JsonOption, terminal: Terminal): Promise<number> {
  await alter((schedules) => schedules.delete(name));
  return tell(name, 'deleted', 'is removed; what it has started goes on.', options, terminal);
}
