import { escapeHtml } from '../report/escape.ts';

const PLACES = [
  { path: '/', name: 'Runs' },
  { path: '/sweeps', name: 'Sweeps' },
  { path: '/compare', name: 'Compare' },
  { path: '/schedules', name: 'Schedules' },
  { path: '/releases', name: 'Releases' },
];

/** A page: HTML for the body, under a heading. */
export interface Page {
  title: string;
  /** The entry of the navigation that it belongs to. */
  place?: string;
  body: string;
  /** Address of the events that keep its live part up to date. */
  live?: { events: string; html: string };
}

/** The part of a page that changes while it is looked at, and what a screen reader says of it. */
export interface LivePart {
  html: string;
  said: string;
}

export function pageHtml({ title, place, body, live }: Page): string {
  const links = PLACES.map(
    ({ path, name }) => `<li><a href="${path}"${path === place ? ' aria-current="page"' : ''}>${name}</a></li>`,
  );
  const changing = live
    ? `<div data-live="${escapeHtml(live.events)}">${live.html}</div>\n<p id="said" class="live" role="status"></p>`
    : '';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}: softflow</title>
<link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/style.css">
<script src="/live.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the page</a>
<header><div class="bar"><strong>softflow</strong><nav aria-label="Pages"><ul>${links.join('')}</ul></nav></div></header>
<main id="main">
<h1>${escapeHtml(title)}</h1>
${changing}${body}
</main>
<footer>Read only: what this page shows can be changed by the softflow command alone.</footer>
</body>
</html>
`;
}

export const notice = (text: string, id = 'notice'): string => `<p id="${id}" class="notice">${escapeHtml(text)}</p>`;

export const runLink = (runId: string): string =>
  `<a id="to-${escapeHtml(runId)}" href="/runs/${encodeURIComponent(runId)}">${escapeHtml(runId)}</a>`;
