import type { Progress } from '../activities/contracts.ts';
import { STAGES, type StageProgress, stageState } from '../client/run-stages.ts';
import type { RunLook } from '../client/runs.ts';
import { escapeHtml } from '../report/escape.ts';
import { duration, integer, percent, rate, significant, utilisation } from '../report/format.ts';
import { tableHtml } from '../report/html-parts.ts';
import { metricTable } from '../report/html-results.ts';
import type { RunSummary } from '../report/summary-types.ts';
import type { EpochRow, RunStatus, Stage, StepStatus } from '../workflows/run-state.ts';
import { type LivePart, notice, type Page, runLink } from './layout.ts';

/** All runs, newest first. */
export function runsPage(looks: readonly RunLook[], total: number): Page {
  const older =
    total > looks.length ? `<p class="muted">${total - looks.length} older runs: softflow list --all</p>` : '';
  return { title: 'Runs', place: '/', body: older, live: { events: '/events', html: runsPart(looks).html } };
}

export function runsPart(looks: readonly RunLook[]): LivePart {
  if (looks.length === 0)
    return {
      html: '<p id="runs" class="empty">No runs yet. Next: <code>softflow demo</code>, or <code>softflow init</code> for a recipe of your own</p>',
      said: '',
    };
  const names = ['loss', 'lambda', 'distance', 'validation HR@10', 'time'];
  const columns = [
    { name: 'run' },
    { name: 'phase' },
    { name: 'at' },
    ...names.map((name) => ({ name, numeric: true })),
  ];
  const rows = looks.map(({ status, elapsedSeconds, progress }) => [
    runLink(status.runId),
    phaseHtml(status.phase),
    status.phase === 'completed' ? '' : escapeHtml(whereText(status, progress)),
    number(lossOf(status, progress)),
    status.curriculum.length > 0 ? number(status.latest.lambda) : '',
    number(status.latest.distance),
    hr10(status.latest.validation),
    elapsedSeconds === undefined ? '' : duration(elapsedSeconds),
  ]);
  const active = looks.filter(({ status }) => status.phase === 'running').length;
  return {
    html: `<div id="runs">${tableHtml('Runs', columns, rows)}</div>`,
    said: active === 0 ? '' : `${active} ${active === 1 ? 'run is' : 'runs are'} at work.`,
  };
}

/** One run: where it stands, every epoch, and its results once there are some. */
export function runPage(look: RunLook, summary: RunSummary | undefined): Page {
  const { runId } = look.status;
  const path = `/runs/${encodeURIComponent(runId)}`;
  const results = summary ? `<h2>Test results</h2>${metricTable(summary)}` : '';
  return { title: runId, body: results, live: { events: `${path}/events`, html: runPart(look).html } };
}

export function runPart(look: RunLook): LivePart {
  const { status } = look;
  const parts = [
    `<p id="phase">${phaseHtml(status.phase)}${look.elapsedSeconds === undefined ? '' : `, ${duration(look.elapsedSeconds)}`}</p>`,
    troubleHtml(look),
    `<ol id="stages" class="stages">${STAGES.map((stage) => stageHtml(stage, look)).join('')}</ol>`,
    `<div id="epochs">${epochsHtml(status)}</div>`,
    reportLink(status),
  ];
  return { html: parts.join(''), said: saidOf(status) };
}

/** Part of what changes: it appears when the run has ended. */
const reportLink = ({ runId, phase }: RunStatus): string =>
  phase === 'completed'
    ? `<p id="report"><a id="to-report" href="/runs/${encodeURIComponent(runId)}/report">Report: findings, charts, examples, timings, lineage</a></p>`
    : '';

const phaseHtml = (phase: string): string => `<span class="phase ${phase}">${phase}</span>`;
const number = (value: number | null | undefined): string =>
  value === undefined || value === null ? '' : significant(value);
const hr10 = (metrics: EpochRow['validation'] | undefined): string =>
  metrics?.hr['10'] === undefined ? '' : rate(metrics.hr['10']);
const lossOf = ({ latest }: RunStatus, progress: readonly Progress[]): number | undefined =>
  progress.find(({ loss }) => loss !== undefined)?.loss ?? latest.loss;
const runningSteps = ({ steps }: RunStatus): StepStatus[] => steps.filter(({ state }) => state === 'running');

function whereText(status: RunStatus, progress: readonly Progress[]): string {
  const [step] = runningSteps(status);
  if (!step) return status.stage;
  const own = progress.find((entry) => entry.step === step.step);
  return own && own.total > 0 ? `${step.label}, ${percent(own.done / own.total)}` : step.label;
}

/** Changes with the steps and not with the seconds: a screen reader is not to speak all the time. */
function saidOf(status: RunStatus): string {
  const labels = runningSteps(status).map(({ label }) => label);
  return labels.length > 0 && status.phase === 'running'
    ? `Running: ${labels.join('; ')}`
    : `The run is ${status.phase}.`;
}

function troubleHtml({ status, notice: trouble }: RunLook): string {
  const texts = [
    ...(status.error ? [`${status.error.code}: ${status.error.message}`] : []),
    ...(status.phase === 'paused' ? [`Paused. To go on: softflow resume ${status.runId}`] : []),
    ...(trouble ? [trouble] : []),
  ];
  return texts.map((text, index) => notice(text, `notice-${index}`)).join('');
}

const STATE_WORDS: Record<StageProgress, string> = { done: 'done', running: 'running', pending: 'waits' };

function stageHtml(stage: Stage, look: RunLook): string {
  const state = stageState(stage, look.status);
  const steps = look.status.steps.filter((step) => step.stage === stage);
  const work =
    state === 'running'
      ? steps.filter((step) => step.state === 'running').map((step) => workHtml(step, look.progress))
      : [`<span class="work">${state === 'done' ? doneText(steps) : ''}</span>`];
  return `<li class="${state}"><span class="name">${stage}</span><span>${STATE_WORDS[state]}</span><span>${work.join('')}</span></li>`;
}

function doneText(steps: readonly StepStatus[]): string {
  const reused = steps.filter(({ state }) => state === 'reused').length;
  if (reused === 0) return steps.length > 1 ? `${steps.length} steps` : '';
  return reused === steps.length ? 'reused from an earlier run' : `${steps.length} steps, ${reused} reused`;
}

function workHtml(step: StepStatus, progress: readonly Progress[]): string {
  const own = progress.find((entry) => entry.step === step.step);
  const label = escapeHtml(step.label);
  if (!own) return `<span class="work">${label}: starting</span>`;
  const bar = `<progress max="${own.total}" value="${own.done}" aria-label="${label}"></progress>`;
  return `<span class="work">${label}, ${escapeHtml(own.position)}${bar}${escapeHtml(paceText(own))}</span>`;
}

function paceText({ done, total, rate: pace, unit, secondsLeft, loss, checkpoint, ...speed }: Progress): string {
  const parts = [
    total > 0 ? percent(done / total) : '',
    pace === undefined ? '' : `${significant(pace)} ${unit}/s`,
    secondsLeft === undefined ? '' : `${duration(secondsLeft)} left`,
    loss === undefined ? '' : `loss ${significant(loss)}`,
    speed.tokensPerSecond === undefined ? '' : `${integer(speed.tokensPerSecond)} tokens/s`,
    speed.mfu === undefined ? '' : `mfu ${utilisation(speed.mfu)}`,
    checkpoint === undefined ? '' : `saved: ${checkpoint}`,
  ];
  return parts.filter((part) => part !== '').join(' · ');
}

function epochsHtml(status: RunStatus): string {
  const rows = (['sft', 'curriculum'] as const).flatMap((stage) =>
    status[stage].map((row) => [
      `${stage === 'sft' ? 'SFT' : 'SOFT'} epoch ${integer(row.epoch)}`,
      number(row.trainLoss),
      stage === 'sft' ? '' : number(row.lambda),
      number(row.distanceAfter),
      hr10(row.validation),
      row.validation.existingTitles === undefined ? '' : percent(row.validation.existingTitles),
    ]),
  );
  if (rows.length === 0) return '';
  const names = ['loss', 'lambda', 'distance after', 'validation HR@10', 'answers that are titles'];
  return `<h2>Epochs</h2>${tableHtml('Epochs', [{ name: 'epoch' }, ...names.map((name) => ({ name, numeric: true }))], rows)}`;
}
