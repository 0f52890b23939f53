import type { StepPlan } from '../client/step-planner.ts';
import { SoftflowError } from '../errors.ts';
import type { StepEstimate } from '../workers/estimator.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { formatBytes, formatNumber, formatSeconds } from './format.ts';
import { oneLine, type Paint } from './terminal.ts';

/** A step of a plan with what it will cost; what is reused costs nothing. */
export interface CostedStep extends StepPlan, StepEstimate {
  cost?: number;
}

export interface PlanTotals {
  /** Every step that is run, early stop sparing none. */
  seconds: number;
  peakBytes: number;
  cost?: number;
}

/** The plan as `--json` prints it. */
export interface PlanReport {
  recipe: string;
  name: string;
  steps: CostedStep[];
  total: PlanTotals;
  currency?: string;
  /** What computes here; absent when nothing has to be computed. */
  backend?: string;
  memoryBytes: number;
  fits: boolean;
}

/** The worker, the server and the system need some of the memory too. */
const OTHERS_BYTES = 600e6;

/** Puts estimates and price to the steps that will be run. */
export function costPlan(
  plan: readonly StepPlan[],
  estimates: readonly StepEstimate[],
  { perHour }: RunConfig['cost'],
): CostedStep[] {
  return plan.map((step, i) => {
    const { rows, ...estimate } = estimates[i] ?? {};
    const shared = { ...step, ...(rows === undefined ? {} : { rows }) };
    if (step.action === 'reuse') return shared;
    const { seconds } = estimate;
    const cost = perHour === undefined || seconds === undefined ? {} : { cost: (seconds / 3600) * perHour };
    return { ...shared, ...estimate, ...cost };
  });
}

export function totalsOf(steps: readonly CostedStep[]): PlanTotals {
  const sum = (of: (step: CostedStep) => number | undefined) => steps.reduce((all, step) => all + (of(step) ?? 0), 0);
  return {
    seconds: sum(({ seconds }) => seconds),
    peakBytes: Math.max(0, ...steps.map(({ peakBytes }) => peakBytes ?? 0)),
    ...(steps.some(({ cost }) => cost !== undefined) ? { cost: sum(({ cost }) => cost) } : {}),
  };
}

export const fits = (peakBytes: number, memoryBytes: number): boolean => peakBytes + OTHERS_BYTES <= memoryBytes;

/** What to change, by the kind of the step that needs most. @returns the error of a run that cannot succeed here */
export function willNotFit(report: PlanReport, config: RunConfig): SoftflowError {
  const { steps, total, memoryBytes } = report;
  const worst = steps.find(({ peakBytes }) => peakBytes === total.peakBytes);
  const smaller = [
    ...(worst?.step === 'trainEpoch' && config.train.microBatchSize > 1
      ? [`train.microBatchSize (${config.train.microBatchSize})`]
      : []),
    ...(worst?.step === 'encodeTitles' ? [`encode.tileRows (${config.encode.tileRows})`] : []),
    ...(worst?.stage === 'self-distil' || worst?.step === 'evaluate' || worst?.step === 'measureDistance'
      ? [`generation.tileRows (${config.generation.tileRows})`]
      : []),
  ];
  const advice = [
    ...(smaller.length > 0 ? [`lower ${smaller.join(' or ')}`] : []),
    ...(config.model.precision === 'f32' ? ['set model.precision: bf16'] : []),
    'use a smaller model or a machine with more memory',
  ];
  return new SoftflowError(
    'WILL_NOT_FIT',
    `"${worst?.label}" needs about ${formatBytes(total.peakBytes)}, and softflow's other processes ${formatBytes(OTHERS_BYTES)}; ` +
      `this machine has ${formatBytes(memoryBytes)}. To make it fit: ${advice.join(', ')}.`,
    { details: { step: worst?.id, peakBytes: total.peakBytes, memoryBytes } },
  );
}

const HEADS = ['step', 'plan', 'rows', 'time', 'memory', 'cost', 'why'];

/** A line of the table. */
export interface PlanLine {
  cells: string[];
  /** Whether nothing of it has to be computed, or not all of it. */
  action: StepPlan['action'];
}

type Shown = Pick<CostedStep, 'label' | 'rows' | 'seconds' | 'peakBytes' | 'cost' | 'reason' | 'optional'>;

export function planLine(step: Shown, action: StepPlan['action'], actionText: string = action): PlanLine {
  const why = step.optional && action === 'run' ? `${step.reason}; unless stopped early` : step.reason;
  const cells = [
    oneLine(step.label, 40),
    actionText,
    step.rows === undefined ? '' : formatNumber(step.rows),
    step.seconds === undefined ? '' : shortTime(step.seconds),
    step.peakBytes === undefined ? '' : formatBytes(step.peakBytes),
    step.cost === undefined ? '' : step.cost.toFixed(2),
    oneLine(why, 400),
  ];
  return { cells, action };
}

/** The plan as a table, a line a step, and its sum in words. */
export function renderPlan(report: PlanReport, columns: number, paint: Paint): string[] {
  const lines = report.steps.map((step) => planLine(step, step.action));
  return [...renderTable(lines, columns, paint), '', ...summary(report)];
}

export function renderTable(lines: readonly PlanLine[], columns: number, paint: Paint): string[] {
  const used = HEADS.map((_, column) => column).filter((column) => lines.some(({ cells }) => cells[column] !== ''));
  const widths = HEADS.map((head, column) =>
    Math.max(head.length, ...lines.map(({ cells }) => cells[column]?.length ?? 0)),
  );
  const clipped = (cells: readonly string[]) => {
    const text = used
      .map((column) => pad(cells[column] ?? '', widths[column] ?? 0, column))
      .join('  ')
      .trimEnd();
    return text.length > columns ? `${text.slice(0, columns - 1)}…` : text;
  };
  const colors = { reuse: paint.dim, resume: paint.cyan, run: (text: string) => text };
  return [paint.bold(clipped(HEADS)), ...lines.map(({ cells, action }) => colors[action](clipped(cells)))];
}

function summary({ steps, total, currency, backend, memoryBytes }: PlanReport): string[] {
  const count = (action: StepPlan['action']) => steps.filter((step) => step.action === action).length;
  const counts = (['reuse', 'resume', 'run'] as const).map((action) => `${count(action)} to ${action}`).join(', ');
  const most = steps.some(({ action, optional }) => action !== 'reuse' && (optional || action === 'resume'))
    ? 'at most '
    : '';
  const price = total.cost === undefined ? '' : `, ${total.cost.toFixed(2)} ${currency}`;
  const where = backend === undefined ? '' : ` (measured here with ${backend})`;
  const memory =
    total.peakBytes === 0 ? '' : `, ${formatBytes(total.peakBytes)} of the ${formatBytes(memoryBytes)} of memory`;
  return [
    `${steps.length} steps: ${counts}.`,
    `Takes ${most}${total.seconds < 1 ? 'less than a second' : `about ${formatSeconds(total.seconds)}`}${memory}${price}${where}.`,
  ];
}

const shortTime = (seconds: number): string => (seconds < 1 ? '< 1 s' : formatSeconds(seconds));

/** Numbers to the right, words to the left. */
const pad = (text: string, width: number, column: number): string =>
  column >= 2 && column <= 5 ? text.padStart(width) : text.padEnd(width);
