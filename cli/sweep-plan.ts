import { rungsOf, settingsText } from '../client/sweep-ranking.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { SweepPlan } from '../workflows/sweep-state.ts';
import { formatBytes, formatSeconds } from './format.ts';
import { type CostedStep, type PlanReport, type PlanTotals, planLine, renderTable, totalsOf } from './plan-view.ts';
import { oneLine, type Paint } from './terminal.ts';

type Action = CostedStep['action'];
const ACTIONS: readonly Action[] = ['reuse', 'resume', 'run'];

/** A step of a sweep, over all runs that take it. */
export interface SweepStep extends Omit<CostedStep, 'action' | 'key' | 'identity' | 'dependsOn'> {
  /** How many runs take it. */
  runs: number;
  /** How often it is done, or found done: once where all runs have it in common. */
  times: Record<Action, number>;
}

export interface MergedPlans {
  runs: { settings: Record<string, unknown>; steps: number }[];
  steps: SweepStep[];
  /** After these rounds the worse half ends; empty without early stop. */
  rungs: number[];
  /** With the worse half ending at each rung. */
  total: PlanTotals;
  /** With every run coming to its end. */
  atMost: PlanTotals;
  budgetSeconds?: number;
}

/** The plan of a sweep as `--json` prints it. */
export interface SweepPlanReport
  extends MergedPlans,
    Pick<PlanReport, 'recipe' | 'name' | 'currency' | 'backend' | 'memoryBytes' | 'fits'> {}

/** One plan of the plans of all runs: what they have in common is done once. */
export function mergePlans(
  configs: readonly RunConfig[],
  plans: readonly CostedStep[][],
  { runs, earlyStop, budgetSeconds }: SweepPlan,
): MergedPlans {
  const rungs = earlyStop ? rungsOf(configs) : [];
  const distinct = distinctSteps(plans);
  const weighted = distinct.map(({ step, runs: sharing }) => {
    const share = Math.min(1, (sharing * runsLeft(plans.length, rungs, step)) / plans.length);
    return scaled(step, share);
  });
  const ids = [...new Set(plans.flatMap((steps) => steps.map(({ id }) => id)))];
  return {
    runs: runs.map((settings, i) => ({ settings, steps: plans[i]?.length ?? 0 })),
    steps: inOrder(ids, plans).map((id) => sumOf(distinct.filter(({ step }) => step.id === id))),
    rungs,
    total: totalsOf(weighted),
    atMost: totalsOf(distinct.map(({ step }) => step)),
    ...(budgetSeconds === undefined ? {} : { budgetSeconds }),
  };
}

interface Distinct {
  step: CostedStep;
  /** How many runs have it in common. */
  runs: number;
}

function distinctSteps(plans: readonly CostedStep[][]): Distinct[] {
  const found = new Map<string, Distinct>();
  for (const step of plans.flat()) {
    const known = found.get(step.identity);
    if (known) known.runs++;
    else found.set(step.identity, { step, runs: 1 });
  }
  return [...found.values()];
}

/** How many runs come to a step: the better half, rounded up, passes each rung. */
function runsLeft(runs: number, rungs: readonly number[], { id, stage }: CostedStep): number {
  const round = stage === 'curriculum' ? Number(/^soft-(\d+)-/.exec(id)?.[1] ?? 0) : (AFTER[stage] ?? 0);
  return rungs.filter((rung) => rung < round).reduce((left) => Math.ceil(left / 2), runs);
}

/** Stages after every rung. */
const AFTER: Partial<Record<CostedStep['stage'], number>> = { test: Infinity, release: Infinity, report: Infinity };

function scaled(step: CostedStep, share: number): CostedStep {
  const { seconds, cost } = step;
  return {
    ...step,
    ...(seconds === undefined ? {} : { seconds: seconds * share }),
    ...(cost === undefined ? {} : { cost: cost * share }),
  };
}

/** Runs with fewer rounds have none of the later steps; the longest plan has them all in order. */
function inOrder(ids: readonly string[], plans: readonly CostedStep[][]): string[] {
  const longest = plans.reduce((best, steps) => (steps.length > best.length ? steps : best)).map(({ id }) => id);
  return [...longest, ...ids.filter((id) => !longest.includes(id))];
}

function sumOf(steps: readonly Distinct[]): SweepStep {
  const all = steps.map(({ step }) => step);
  const [first] = all as [CostedStep];
  const {
    action: _,
    key: __,
    identity: ___,
    dependsOn: ____,
    ...shown
  } = all.find(({ action }) => action !== 'reuse') ?? first;
  const total = totalsOf(all);
  const rows = all.reduce((sum, step) => sum + (step.rows ?? 0), 0);
  return {
    ...shown,
    runs: steps.reduce((sum, { runs }) => sum + runs, 0),
    times: Object.fromEntries(
      ACTIONS.map((action) => [action, all.filter((step) => step.action === action).length]),
    ) as SweepStep['times'],
    ...(rows > 0 ? { rows } : {}),
    ...(total.seconds > 0 ? { seconds: total.seconds } : {}),
    ...(total.peakBytes > 0 ? { peakBytes: total.peakBytes } : {}),
    ...(total.cost === undefined ? {} : { cost: total.cost }),
  };
}

/** The plan as a table, a line a step of all runs together, and its sum in words. */
export function renderSweepPlan(report: SweepPlanReport, columns: number, paint: Paint): string[] {
  const lines = report.steps.map((step) => planLine(step, mostWork(step), actionsText(step)));
  const names = report.runs.map(({ settings }, i) => `  ${i + 1}  ${oneLine(settingsText(settings), 200)}`);
  return [...renderTable(lines, columns, paint), '', `${report.runs.length} runs:`, ...names, '', ...summary(report)];
}

const mostWork = ({ times }: SweepStep): Action => ACTIONS.findLast((action) => times[action] > 0) ?? 'reuse';

/** `run for 4 runs`; `reuse 1, run 3`. */
function actionsText({ times, runs }: SweepStep): string {
  const done = ACTIONS.filter((action) => times[action] > 0);
  const count = done.reduce((sum, action) => sum + times[action], 0);
  if (count === 1) return runs === 1 ? `${done[0]}` : `${done[0]} for ${runs} runs`;
  return done.map((action) => `${action} ${times[action]}`).join(', ');
}

function summary({
  runs,
  steps,
  rungs,
  total,
  atMost,
  currency,
  backend,
  budgetSeconds,
  memoryBytes,
}: SweepPlanReport): string[] {
  const taken = runs.reduce((sum, run) => sum + run.steps, 0);
  const count = (action: Action) => steps.reduce((sum, { times }) => sum + times[action], 0);
  const counts = ACTIONS.map((action) => `${count(action)} to ${action}`).join(', ');
  const price = (cost: number | undefined) => (cost === undefined ? '' : ` (${cost.toFixed(2)} ${currency})`);
  const time = ({ seconds, cost }: PlanTotals) => `${formatSeconds(seconds)} of one trainer${price(cost)}`;
  const after = `${rungs.length === 1 ? 'round' : 'rounds'} ${rungs.join(', ')}`;
  const early = rungs.length > 0 && runs.length > 1;
  return [
    `${taken} steps, ${taken - ACTIONS.reduce((sum, action) => sum + count(action), 0)} of them shared: ${counts}.`,
    early
      ? `Takes about ${time(total)} when the worse half ends after ${after}; at most ${time(atMost)}.`
      : `Takes at most ${time(atMost)}.`,
    ...(backend === undefined
      ? []
      : [
          `Measured here with ${backend}; a trainer needs ${formatBytes(total.peakBytes)} of the ${formatBytes(memoryBytes)} of memory.`,
        ]),
    ...(budgetSeconds !== undefined && total.seconds > budgetSeconds
      ? [
          `That is more than the budget of ${formatSeconds(budgetSeconds)}: when it is used up only the best run goes on.`,
        ]
      : []),
  ];
}
