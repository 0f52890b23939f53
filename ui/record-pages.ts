import type { AuditRow } from '../artifacts/decisions.ts';
import type { ScheduleSummary } from '../client/schedule-view.ts';
import { escapeHtml } from '../report/escape.ts';
import { significant } from '../report/format.ts';
import { tableHtml } from '../report/html-parts.ts';
import { type Page, runLink } from './layout.ts';

/** Schedules of the server; undefined while none answers. */
export function schedulesPage(schedules: readonly ScheduleSummary[] | undefined): Page {
  return { title: 'Schedules', place: '/schedules', body: schedulesHtml(schedules) };
}

function schedulesHtml(schedules: readonly ScheduleSummary[] | undefined): string {
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

/** What is served, since when and why, and what was turned down, newest first. */
export function releasesPage(rows: readonly AuditRow[]): Page {
  return { title: 'Releases', place: '/releases', body: releasesHtml(rows) };
}

function releasesHtml(audit: readonly AuditRow[]): string {
  if (audit.length === 0)
    return '<p class="empty">Nothing was promoted yet. Next: <code>softflow promote &lt;run&gt;</code></p>';
  const current = audit.findLast(({ number }) => number !== null);
  const columns = ['what', 'number', 'run', 'current after it', 'by', 'at', 'reason', 'figures'];
  const rows = [...audit]
    .reverse()
    .map((row) => [
      row.what,
      `${row.number ?? ''}${row === current ? ' <span class="tag">current</span>' : ''}`,
      row.runId === null ? '' : runLink(row.runId),
      row.to === null ? '' : `<code title="${escapeHtml(row.to)}">${escapeHtml(row.to.slice(0, 12))}</code>`,
      escapeHtml(row.by),
      escapeHtml(row.at.slice(0, 16).replace('T', ' ')),
      escapeHtml(row.reason),
      figuresHtml(row.metrics),
    ]);
  const table = tableHtml(
    'Releases',
    columns.map((name) => ({ name })),
    rows,
  );
  return `${table}<p class="muted"><small>Times are UTC.</small></p>`;
}

/** The reason says what counts; whoever wants to know more opens the rest. */
function figuresHtml(metrics: AuditRow['metrics']): string {
  const shown = Object.entries(metrics).map(([name, value]) =>
    escapeHtml(`${name} ${typeof value === 'number' ? significant(value) : value}`),
  );
  return shown.length === 0 ? '' : `<details><summary>all of them</summary>${shown.join('<br>')}</details>`;
}
