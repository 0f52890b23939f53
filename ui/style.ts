import { STYLE } from '../report/html-style.ts';

/** The report's style sheet, and what only the live page needs. */
export const UI_STYLE = `${STYLE}
.bar { display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 22px; border-bottom: 1px solid var(--line); padding: 0 0 12px; margin-bottom: 26px; }
.bar strong { font-size: 16px; }
.bar nav ul { margin: 0; }
.bar nav a[aria-current] { color: var(--ink); font-weight: 600; text-decoration: none; }
.live { min-height: 1.6em; font-size: 13px; color: var(--muted); margin-top: 8px; }
.stages { list-style: none; margin: 20px 0 0; padding: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.stages li { display: grid; grid-template-columns: 110px 84px minmax(0, 1fr); gap: 2px 14px; padding: 9px 16px; border-bottom: 1px solid var(--line); }
.stages li:last-child { border-bottom: 0; }
.stages .name { font-weight: 600; }
.stages .pending, .stages .pending .name { color: var(--muted); font-weight: 400; }
.stages .running .name { color: var(--accent); }
.stages .work { display: block; overflow-wrap: anywhere; }
progress { width: 100%; max-width: 420px; height: 8px; appearance: none; border: 0; border-radius: 4px; overflow: hidden; background: var(--line); display: block; margin: 5px 0; }
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--accent); }
progress::-moz-progress-bar { background: var(--accent); }
.phase { white-space: nowrap; }
.phase.failed { color: var(--warn-ink); font-weight: 600; }
.phase.completed { color: var(--good); }
.notice { background: var(--warn); color: var(--warn-ink); border-radius: 10px; padding: 10px 16px; margin: 16px 0 0; max-width: none; overflow-wrap: anywhere; }
form { display: flex; flex-wrap: wrap; gap: 12px; align-items: end; margin: 20px 0; }
label { display: grid; gap: 4px; font-size: 13px; color: var(--muted); min-width: 0; }
select, button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 7px 12px; max-width: 100%; }
button { cursor: pointer; }
select:focus-visible, button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
#report { margin: 14px 0 0; }
.empty { margin: 24px 0; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 16px; margin: 16px 0; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 600px) {
  .stages li { grid-template-columns: 1fr auto; }
  .stages .work { grid-column: 1 / -1; }
}
`;
