import { escapeHtml } from './escape.ts';
import type { ModelId } from './summary-types.ts';

/** A part of a page under a heading that the table of contents and screen readers can jump to. */
export interface Section {
  id: string;
  title: string;
  body: string;
}

export const sectionHtml = ({ id, title, body }: Section): string =>
  `<section id="${id}" aria-labelledby="${id}-title">\n<h2 id="${id}-title">${escapeHtml(title)}</h2>\n${body}\n</section>`;

export const contentsHtml = (sections: readonly Section[]): string =>
  `<nav aria-label="Contents"><ul>${sections.map(({ id, title }) => `<li><a href="#${id}">${escapeHtml(title)}</a></li>`).join('')}</ul></nav>`;

/** A region that scrolls sideways on narrow screens, reachable by keyboard. */
export const scroll = (label: string, content: string): string =>
  `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(`${label}: table`)}">${content}</div>`;

/** A column of a table: its heading, and whether it holds numbers. */
export interface Column {
  name: string;
  numeric?: boolean;
}

/** A table whose cells are HTML already; the first cell of a row names it. */
export function tableHtml(label: string, columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const kind = (index: number) => (columns[index]?.numeric ? ' class="num"' : '');
  const head = columns.map(({ name }, index) => `<th scope="col"${kind(index)}>${escapeHtml(name)}</th>`);
  const body = rows.map(
    (cells) =>
      `<tr>${cells
        .map((cell, index) => (index === 0 ? `<th scope="row">${cell}</th>` : `<td${kind(index)}>${cell}</td>`))
        .join('')}</tr>`,
  );
  return scroll(label, `<table><thead><tr>${head.join('')}</tr></thead><tbody>${body.join('')}</tbody></table>`);
}

export function card(label: string, value: string, note: string, tone = ''): string {
  return (
    `<div class="card"><div class="label">${escapeHtml(label)}</div>` +
    `<div class="value ${tone}">${escapeHtml(value)}</div><div class="note muted">${escapeHtml(note)}</div></div>`
  );
}

export const dot = (id: ModelId | 'chance'): string => `<span class="dot ${id}"></span>`;
export const quoted = (text: string): string => (text === '' ? '<em>empty</em>' : escapeHtml(text));

export const json = (value: unknown): string =>
  `<pre tabindex="0">${JSON.stringify(value, null, 2).split('\n').map(escapeLine).join('\n')}</pre>`;

/** Indentation survives; everything else is escaped as any text. */
const escapeLine = (line: string): string => (/^ */.exec(line)?.[0] ?? '') + escapeHtml(line.trimStart());
