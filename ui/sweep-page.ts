import { ranked, settingsText } from '../client/sweep-ranking.ts';
import type { SweepLook } from '../client/sweeps.ts';
import { escapeHtml } from '../report/escape.ts';
import { duration, integer, significant } from '../report/format.ts';
import { tableHtml } from '../report/html-parts.ts';
import type { SweepRun } from '../workflows/sweep-state.ts';
import { type LivePart, notice, type Page, runLink } from './layout.ts';

/** The newest sweeps, each with the ranking of its runs. */
export function sweepsPage(looks: readonly SweepLook[]): Page {
  const { html } = sweepsPart(looks);
  return { title: 'Sweeps', place: '/sweeps', body: '', live: { events: '/sweeps/events', html } };
}

export function sweepsPart(looks: readonly SweepLook[]): LivePart {
  if (looks.length === 0)
    return {
      html: '<p id="sweeps" class="empty">No sweeps yet. Next: <code>softflow sweep --help</code></p>',
      said: '',
    };
  const active = looks.filter(({ status }) => status.phase === 'running').length;
  return {
    html: `<div id="sweeps">${looks.map(sweepHtml).join('')}</div>`,
    said: active === 0 ? '' : `${active} ${active === 1 ? 'sweep is' : 'sweeps are'} at work.`,
  };
}

function sweepHtml(look: SweepLook, index: number): string {
  const { status, elapsedSeconds, notice: trouble } = look;
  const { sweepId, phase, rungs, best, metric } = status;
  const rule = rungs.length > 0 ? `The worse half ends after round ${rungs.join(', ')}.` : 'No run ends early.';
  const budget = status.spent ? ' The budget is used up.' : '';
  const time = elapsedSeconds === undefined ? '' : `, ${duration(elapsedSeconds)}`;
  const names = ['rank', 'run', 'settings', 'phase', 'round', metric, 'now'];
  const columns = names.map((name) => ({ name, numeric: name === 'round' || name === metric }));
  const rows = ranked(status.runs).map((run, i) => [
    run.runId === best ? '<span class="tag">best</span>' : integer(i + 1),
    run.phase === 'pending' ? escapeHtml(run.runId) : runLink(run.runId),
    `<code>${escapeHtml(settingsText(run.settings))}</code>`,
    `<span class="phase ${run.phase}">${run.phase}</span>`,
    integer(run.round),
    run.value === null ? '' : significant(run.value),
    escapeHtml(detailOf(run, look)),
  ]);
  const texts = [
    ...(status.error ? [`${status.error.code}: ${status.error.message}`] : []),
    ...(phase === 'paused' ? [`Paused. To go on: softflow resume ${sweepId}`] : []),
    ...(trouble ? [trouble] : []),
  ];
  return [
    `<h2>${escapeHtml(sweepId)}</h2>`,
    `<p><span class="phase ${phase}">${phase}</span>${time}. ${rule}${budget}</p>`,
    ...texts.map((text, i) => notice(text, `notice-${index}-${i}`)),
    tableHtml(`Ranking of ${sweepId}`, columns, rows),
  ].join('');
}

function detailOf({ runId, reason, error }: SweepRun, { atWork }: SweepLook): string {
  if (error) return `${error.code}: ${error.message}`;
  return reason ?? atWork[runId]?.status.steps.find(({ state }) => state === 'running')?.label ?? '';
}
