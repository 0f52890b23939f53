import type { ReleaseMove } from '../artifacts/releases.ts';
import { escapeHtml } from '../report/escape.ts';
import { tableHtml } from '../report/html-parts.ts';
import { type Page, runLink } from './layout.ts';
import type { ScheduleLine } from './source.ts';

/** Schedules of the server; undefined while none answers. */
export function schedulesPage(schedules: readonly ScheduleLine[] | undefined): Page {
  return { title: 'Schedules', place: '/schedules', body: schedulesHtml(schedules) };
}

function schedulesHtml(schedules: readonly ScheduleLine[] | undefined): string {
  if (!schedules) return '<p class="empty">No Temporal server answers, and schedules live there.</p>';
  if (schedules.length === 0)
    return '<p class="empty">No schedules. Next: <code>softflow schedule create --help</code></p>';
  const columns = ['schedule', 'times', 'time zone', 'state', 'next', 'last'].map((name) => ({ name }));
  const rows = schedules.map(({ name, times, timezone, paused, note, next, last }) => [
    escapeHtml(name),
    times.map((time) => `<code>${escapeHtml(time)}</code>`).join('<br>'),
    escapeHtml(timezone),
    escapeHtml(`${paused ? 'paused' : 'active'}${note ? `: ${note}` : ''}`),
    escapeHtml(paused ? '' : (next ?? '')),
    escapeHtml(last ? `${last.scheduledAt}, ${last.workflowId}` : ''),
  ]);
  return `${tableHtml('Schedules', columns, rows)}<p class="muted"><small>Times are UTC.</small></p>`;
}

/** Every move of `current`, newest first: what is served, since when, and why. */
export function releasesPage(moves: readonly ReleaseMove[]): Page {
  return { title: 'Releases', place: '/releases', body: releasesHtml(moves) };
}

function releasesHtml(moves: readonly ReleaseMove[]): string {
  const current = moves.at(-1);
  if (!current) return '<p class="empty">Nothing was promoted yet. Next: <code>softflow promote &lt;run&gt;</code></p>';
  const columns = ['number', 'move', 'release', 'run', 'by', 'at', 'reason', 'figures'].map((name) => ({ name }));
  const rows = [...moves].reverse().map((move) => [
    `${move.number}${move === current ? ' <span class="tag">current</span>' : ''}`,
    move.move,
    `<code title="${escapeHtml(move.release)}">${escapeHtml(move.release.slice(0, 12))}</code>`,
    move.runId === null ? '' : runLink(move.runId),
    escapeHtml(move.by),
    escapeHtml(move.at),
    escapeHtml(move.reason),
    Object.entries(move.metrics)
      .map(([name, value]) => escapeHtml(`${name} ${value}`))
      .join('<br>'),
  ]);
  return tableHtml('Moves of current', columns, rows);
}
