import { ranked, type Settings, settingsText } from '../client/sweep-ranking.ts';
import type { SweepLook } from '../client/sweeps.ts';
import { align } from '../report/format.ts';
import type { SweepRun, SweepStatus } from '../workflows/sweep-state.ts';
import { formatNumber, formatSeconds } from './format.ts';
import { oneLine, type Paint } from './terminal.ts';

const SETTINGS_WIDTH = 60;
const DETAIL_WIDTH = 80;

/** The ranking of a sweep, best first, a line a run, each at most `columns` wide. */
export function renderSweep(look: SweepLook, columns: number, paint: Paint): string[] {
  const { status, elapsedSeconds, notice } = look;
  const width = Math.max(columns - 1, 40);
  const clip = (line: string) => (line.length > width ? `${line.slice(0, width - 1)}…` : line);
  const elapsed = elapsedSeconds === undefined ? '' : `  ${formatSeconds(elapsedSeconds)}`;
  const runs = ranked(status.runs);
  const rows = runs.map((run, i) => [
    run.runId === status.best ? '*' : String(i + 1),
    run.runId.slice(status.sweepId.length),
    oneLine(settingsText(run.settings), SETTINGS_WIDTH),
    run.phase,
    String(run.round),
    run.value === null ? '' : formatNumber(run.value),
    detailOf(run, look),
  ]);
  const [head = '', ...lines] = align([['', 'run', 'settings', 'phase', 'round', status.metric, ''], ...rows]);
  const trouble = status.phase === 'paused' ? `Paused. To go on: softflow resume ${status.sweepId}` : notice;
  return [
    paint.bold(clip(oneLine(`${status.sweepId}  ${status.phase}${elapsed}`, width))),
    clip(`  ${ruleText(status)}`),
    paint.dim(clip(head)),
    ...lines.map((line, i) => paintOf(runs[i] as SweepRun, status, paint)(clip(line))),
    ...(trouble ? [paint.yellow(clip(`  ${oneLine(trouble, width)}`))] : []),
  ];
}

/** `the worse half ends after rounds 2, 4; 2 at a time; budget 6 h 00 min`. */
function ruleText({ rungs, maxParallel, budgetSeconds, spent }: SweepStatus): string {
  const rule = rungs.length > 0 ? `the worse half ends after round ${rungs.join(', ')}` : 'no run ends early';
  const budget = budgetSeconds === null ? [] : [`budget ${formatSeconds(budgetSeconds)}${spent ? ', used up' : ''}`];
  return [rule, `${maxParallel} at a time`, ...budget].join('; ');
}

/** What it is doing, or why it goes on no more. */
function detailOf({ runId, reason, error }: SweepRun, { atWork }: SweepLook): string {
  if (error) return oneLine(`${error.code}: ${error.message}`, DETAIL_WIDTH);
  if (reason !== undefined) return oneLine(reason, DETAIL_WIDTH);
  const look = atWork[runId];
  const step = look?.status.steps.find(({ state }) => state === 'running');
  if (!look || !step) return '';
  const own = look.progress.find((entry) => entry.step === step.step);
  const share = own && own.total > 0 ? `, ${Math.floor((own.done / own.total) * 100)} %` : '';
  return `${oneLine(step.label, DETAIL_WIDTH)}${share}${look.notice === undefined ? '' : `: ${oneLine(look.notice, DETAIL_WIDTH)}`}`;
}

function paintOf({ runId, phase }: SweepRun, { best }: SweepStatus, paint: Paint): (text: string) => string {
  if (runId === best) return paint.green;
  if (phase === 'running') return paint.cyan;
  return phase === 'failed' ? paint.red : (text) => text;
}

/** What changed between two looks at a sweep; the lines of a log and of `--json`. */
export type SweepEvent =
  | { event: 'phase'; sweepId: string; phase: SweepStatus['phase'] }
  | {
      event: 'run';
      runId: string;
      /** 1 is the best so far. */
      rank: number;
      settings: Settings;
      phase: SweepRun['phase'];
      round: number;
      value: number | null;
      reason?: string;
    }
  | { event: 'notice'; message: string };

export function sweepEvents(before: SweepLook | undefined, now: SweepLook): SweepEvent[] {
  const { status, notice } = now;
  const known = new Map(before?.status.runs.map((run) => [run.runId, signOf(run)]));
  const changed = ranked(status.runs).flatMap((run, i): SweepEvent[] => {
    if (known.get(run.runId) === signOf(run)) return [];
    const { runId, settings, phase, round, value, reason = run.error?.message } = run;
    const why = reason === undefined ? {} : { reason };
    return [{ event: 'run', runId, rank: i + 1, settings, phase, round, value, ...why }];
  });
  const phase: SweepEvent[] =
    before?.status.phase === status.phase ? [] : [{ event: 'phase', sweepId: status.sweepId, phase: status.phase }];
  const trouble: SweepEvent[] = notice && notice !== before?.notice ? [{ event: 'notice', message: notice }] : [];
  return [...(before ? [] : phase), ...changed, ...trouble, ...(before ? phase : [])];
}

const signOf = ({ phase, round, value }: SweepRun): string => `${phase} ${round} ${value}`;

/** An event as one line of a log. */
export function sweepEventLine(event: SweepEvent): string {
  if (event.event === 'phase') return `${oneLine(event.sweepId, 80)}: ${event.phase}`;
  if (event.event === 'notice') return oneLine(event.message, 400);
  const { runId, rank, settings, phase, round, value, reason } = event;
  const figures = value === null ? '' : `, round ${round}: ${formatNumber(value)}, rank ${rank}`;
  const text = `${oneLine(runId, 80)} (${oneLine(settingsText(settings), SETTINGS_WIDTH)}): ${phase}${figures}`;
  return reason === undefined ? text : `${text}: ${oneLine(reason, DETAIL_WIDTH)}`;
}
