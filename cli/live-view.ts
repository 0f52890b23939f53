import type { Progress } from '../activities/contracts.ts';
import { STAGES, type StageProgress, stageState } from '../client/run-stages.ts';
import { hasEnded, type RunStatus, type Stage, type StepStatus } from '../workflows/run-state.ts';
import { formatNumber, formatSeconds, progressBar } from './format.ts';
import { oneLine, type Paint } from './terminal.ts';

/** What is shown of a run at one moment. */
export interface LiveRun {
  status: RunStatus;
  /** Of the steps that are running; empty while they wait for a worker. */
  progress: readonly Progress[];
  elapsedSeconds?: number;
  /** A sentence about trouble: no worker takes the step, an attempt failed ... */
  notice?: string;
  /** Of the steps that are running, those that go on at another worker, by step id. */
  moved?: Record<string, { from: string; to: string; count: number }>;
  /** Of the steps that are running, what they went on from, by step id. */
  resumed?: Record<string, string>;
}

const MARKS: Record<StageProgress, string> = { done: '+', running: '>', pending: ' ' };
const LABEL_WIDTH = 13;
const BAR_WIDTH = 16;

/** The view of one run, a line per stage, each at most `columns` wide. */
export function renderRun(run: LiveRun, columns: number, paint: Paint, stages: readonly Stage[] = STAGES): string[] {
  const { status } = run;
  const width = Math.max(columns - 1, 40);
  const elapsed = run.elapsedSeconds === undefined ? '' : `  ${formatSeconds(run.elapsedSeconds)}`;
  const lines = [paint.bold(oneLine(`${status.runId}  ${phaseText(status)}${elapsed}`, width))];
  for (const stage of stages) {
    const state = stageState(stage, status);
    const line = `${MARKS[state]} ${stage.padEnd(LABEL_WIDTH)}${stageDetail(stage, state, run)}`;
    lines.push(stagePaint(state, paint)(clip(line, width)));
  }
  const figures = latestFigures(run);
  if (figures) lines.push(clip(`  ${figures}`, width));
  for (const move of Object.values(run.moved ?? {})) lines.push(clip(`  ${moveText(move)}`, width));
  for (const text of Object.values(run.resumed ?? {})) lines.push(clip(`  ${oneLine(text, width)}`, width));
  const notice = status.phase === 'paused' ? `Paused. To go on: softflow resume ${status.runId}` : run.notice;
  if (notice) lines.push(paint.yellow(clip(`  ${oneLine(notice, width)}`, width)));
  return lines;
}

/** `running until self-distil`, where the run is to stop. */
const phaseText = ({ phase, lastStep }: RunStatus): string =>
  lastStep && !lastStep.reached && !hasEnded({ phase }) ? `${phase} until ${lastStep.id}` : phase;

/** One run among several: its head, what is at work, its figures. */
export const renderShort = (run: LiveRun, columns: number, paint: Paint): string[] =>
  renderRun(
    run,
    columns,
    paint,
    STAGES.filter((stage) => stageState(stage, run.status) === 'running'),
  );

// Column positions are kept, so only the end may be cut.
const clip = (line: string, width: number): string => {
  const end = line.trimEnd();
  return end.length > width ? `${end.slice(0, width - 1)}…` : end;
};

const stagePaint = (state: StageProgress, paint: Paint) =>
  state === 'running' ? paint.cyan : state === 'done' ? paint.green : paint.dim;

const finished = (step: StepStatus): boolean => step.state === 'run' || step.state === 'reused';

function stageDetail(stage: Stage, state: StageProgress, run: LiveRun): string {
  const steps = run.status.steps.filter((step) => step.stage === stage);
  if (state === 'done') return doneDetail(steps);
  if (state === 'pending') return '';
  const running = steps.filter((step) => step.state === 'running');
  if (running.length === 0) return steps.length ? doneDetail(steps.filter(finished)) : '';
  return running.map((step) => runningDetail(step, run)).join('; ');
}

function doneDetail(steps: readonly StepStatus[]): string {
  const reused = steps.filter((step) => step.state === 'reused').length;
  if (steps.length === 0) return '';
  if (reused === steps.length) return steps.length === 1 ? 'reused' : `${steps.length} steps, all reused`;
  const count = steps.length === 1 ? 'done' : `${steps.length} steps`;
  return reused ? `${count}, ${reused} reused` : count;
}

function runningDetail(step: StepStatus, { status, progress, moved }: LiveRun): string {
  const own = progress.find((entry) => entry.step === step.step);
  const label = `${oneLine(step.label, 40)}${moved?.[step.id] ? ' (moved)' : ''}`;
  return own ? `${label}  ${progressText(own)}` : `${label}  ${status.phase === 'paused' ? 'held' : 'starting'}`;
}

/** `moved from 12@gpu-0 to 9@gpu-1`. */
const moveText = ({ from, to }: { from: string; to: string }): string =>
  `moved from ${oneLine(from, 80)} to ${oneLine(to, 80)}`;

/** Bar, share, position, rate and time left of a running step. */
export function progressText(progress: Progress): string {
  const share = progress.total > 0 ? progress.done / progress.total : 0;
  const parts = [
    `${progressBar(share, BAR_WIDTH)} ${String(Math.floor(share * 100)).padStart(3)} %`,
    leftText(progress),
    rateText(progress),
    oneLine(progress.position, 60),
  ];
  // The narrowest terminals lose the position first.
  return parts.filter(Boolean).join('  ');
}

const rateText = ({ rate, unit }: Progress): string =>
  rate === undefined ? '' : `${formatNumber(rate)} ${oneLine(unit, 20)}/s`;
const speedText = ({ tokensPerSecond, mfu }: Progress): string =>
  [
    ...(tokensPerSecond === undefined ? [] : [`${formatNumber(tokensPerSecond)} tokens/s`]),
    ...(mfu === undefined ? [] : [`mfu ${mfu.toFixed(2)}`]),
  ].join('   ');
const leftText = ({ secondsLeft }: Progress): string =>
  secondsLeft === undefined ? '' : `${formatSeconds(secondsLeft)} left`;

/** `loss 1.53   lambda 0.0613   distance 29.3   validation HR@10 0.0123   325 tokens/s   mfu 0.79`. */
export function latestFigures({ status, progress }: LiveRun): string {
  const { latest } = status;
  const loss = progress.find((entry) => entry.loss !== undefined)?.loss ?? latest.loss;
  const hr = latest.validation?.hr['10'];
  const figures: [string, number | undefined][] = [
    ['loss', loss],
    ['lambda', status.curriculum.length ? latest.lambda : undefined],
    ['distance', latest.distance],
    ['validation HR@10', hr],
    ['existing titles', latest.validation?.existingTitles],
  ];
  const known = figures.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${formatNumber(value)}`]));
  return [...known, ...progress.map(speedText).filter(Boolean)].join('   ');
}

/** What changed between two looks at a run; the lines of a log and of `--json`. */
export type RunEvent =
  | { event: 'phase'; runId: string; phase: RunStatus['phase'] }
  | { event: 'step'; id: string; stage: Stage; label: string; state: StepStatus['state']; resumedFrom?: string }
  | {
      event: 'epoch';
      stage: 'sft' | 'curriculum';
      epoch: number;
      lambda: number;
      distanceAfter: number | null;
      trainLoss: number;
      hr10?: number;
    }
  | ({ event: 'progress'; label: string } & Progress)
  | { event: 'moved'; id: string; label: string; from: string; to: string }
  | { event: 'resumed'; id: string; label: string; message: string }
  | { event: 'notice'; message: string };

export function eventsBetween(before: LiveRun | undefined, now: LiveRun): RunEvent[] {
  const { status } = now;
  const events: RunEvent[] = [];
  const phase: RunEvent[] =
    before?.status.phase === status.phase ? [] : [{ event: 'phase', runId: status.runId, phase: status.phase }];
  if (status.phase === 'running') events.push(...phase);
  const states = new Map(before?.status.steps.map((step) => [step.id, step.state]));
  for (const { id, stage, label, state, resumedFrom } of status.steps)
    if (state !== 'pending' && states.get(id) !== state)
      events.push({ event: 'step', id, stage, label, state, ...(resumedFrom === undefined ? {} : { resumedFrom }) });
  for (const stage of ['sft', 'curriculum'] as const)
    for (const row of status[stage].slice(before?.status[stage].length ?? 0)) {
      const { epoch, lambda, distanceAfter, trainLoss, validation } = row;
      const hr10 = validation.hr['10'];
      events.push({
        event: 'epoch',
        stage,
        epoch,
        lambda,
        distanceAfter,
        trainLoss,
        ...(hr10 === undefined ? {} : { hr10 }),
      });
    }
  events.push(...movesBetween(before, now), ...resumesBetween(before, now));
  if (status.phase !== 'running') events.push(...phase);
  if (now.notice && now.notice !== before?.notice) events.push({ event: 'notice', message: now.notice });
  return events;
}

function movesBetween(before: LiveRun | undefined, { status, moved = {} }: LiveRun): RunEvent[] {
  return status.steps.flatMap(({ id, label }) => {
    const move = moved[id];
    if (!move || before?.moved?.[id]?.count === move.count) return [];
    return [{ event: 'moved' as const, id, label, from: move.from, to: move.to }];
  });
}

function resumesBetween(before: LiveRun | undefined, { status, resumed = {} }: LiveRun): RunEvent[] {
  return status.steps.flatMap(({ id, label }) => {
    const message = resumed[id];
    if (message === undefined || before?.resumed?.[id] === message) return [];
    return [{ event: 'resumed' as const, id, label, message }];
  });
}

/** Progress as events: those that moved since `before`. */
export function progressEvents(before: LiveRun | undefined, now: LiveRun): RunEvent[] {
  const seen = new Map(before?.progress.map((entry) => [entry.step, `${entry.position} ${entry.done}`]));
  return now.progress
    .filter((entry) => seen.get(entry.step) !== `${entry.position} ${entry.done}`)
    .map((entry) => ({ event: 'progress' as const, label: labelOf(entry, now), ...entry }));
}

/** The step of the plan that a heartbeat belongs to. */
const labelOf = ({ step }: Progress, { status }: LiveRun): string =>
  status.steps.find((entry) => entry.step === step && entry.state === 'running')?.label ?? step;

const STATE_WORDS: Record<StepStatus['state'], string> = {
  pending: 'waits',
  running: 'started',
  run: 'done',
  reused: 'reused',
};

/** An event as one line of a log. */
export function eventLine(event: RunEvent): string {
  switch (event.event) {
    case 'phase':
      return `${oneLine(event.runId, 80)}: ${event.phase}`;
    case 'step':
      return `${event.stage}: ${oneLine(event.label, 80)}: ${STATE_WORDS[event.state]}${event.resumedFrom ? ` (resumed from ${oneLine(event.resumedFrom, 80)})` : ''}`;
    case 'epoch':
      return epochLine(event);
    case 'progress':
      return [
        `${oneLine(event.label, 80)}:`,
        oneLine(event.position, 80),
        shareText(event),
        rateText(event),
        speedText(event),
        leftText(event),
        lossText(event),
      ]
        .filter(Boolean)
        .join('  ');
    case 'moved':
      return `${oneLine(event.label, 80)}: ${moveText(event)}`;
    case 'resumed':
      return `${oneLine(event.label, 80)}: ${oneLine(event.message, 400)}`;
    case 'notice':
      return oneLine(event.message, 400);
  }
}

function epochLine(event: Extract<RunEvent, { event: 'epoch' }>): string {
  const curriculum =
    event.stage === 'sft'
      ? ''
      : `  lambda ${formatNumber(event.lambda)}${event.distanceAfter === null ? '' : `  distance ${formatNumber(event.distanceAfter)}`}`;
  const hr = event.hr10 === undefined ? '' : `  validation HR@10 ${formatNumber(event.hr10)}`;
  return `${event.stage}: epoch ${event.epoch}: loss ${formatNumber(event.trainLoss)}${curriculum}${hr}`;
}

const shareText = ({ done, total }: Progress): string => (total > 0 ? `${Math.floor((done / total) * 100)} %` : '');
const lossText = ({ loss }: Progress): string => (loss === undefined ? '' : `loss ${formatNumber(loss)}`);
