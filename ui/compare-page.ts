import type { PairedResult, PairedSlice, RunComparison } from '../report/compare.ts';
import { escapeHtml } from '../report/escape.ts';
import { integer, rate, signed } from '../report/format.ts';
import { tableHtml } from '../report/html-parts.ts';
import { SLICE_LABELS } from '../report/slices.ts';
import { MODEL_LABELS } from '../report/summary-types.ts';
import { notice, type Page, runLink } from './layout.ts';

/** The runs that can be compared, the two that were chosen, and what came of it. */
export interface CompareChoice {
  runIds: readonly string[];
  first: string;
  second: string;
  comparison?: RunComparison;
  /** Why there is none. */
  refused?: string;
}

export function comparePage(choice: CompareChoice): Page {
  const { runIds, comparison, refused } = choice;
  const body =
    runIds.length < 2
      ? '<p class="empty">Two completed runs are needed to compare.</p>'
      : formHtml(choice) + (refused ? notice(refused) : '') + (comparison ? comparisonHtml(comparison) : '');
  return { title: 'Compare', place: '/compare', body };
}

function formHtml({ runIds, first, second }: CompareChoice): string {
  const field = (name: string, label: string, chosen: string) => {
    const options = runIds.map(
      (runId) => `<option${runId === chosen ? ' selected' : ''}>${escapeHtml(runId)}</option>`,
    );
    return `<label>${label}<select name="${name}">${options.join('')}</select></label>`;
  };
  return `<form action="/compare">${field('first', 'Run A', first)}${field('second', 'Run B', second)}<button>Compare</button></form>`;
}

function comparisonHtml(comparison: RunComparison): string {
  const { first, second, windows, titles, k } = comparison;
  const intro = `<p>A is ${runLink(first.runId)}, B is ${runLink(second.runId)}: ${integer(windows)} test windows and ${integer(titles)} titles to rank, the same for both. Intervals: 95 % paired bootstrap of B &minus; A.</p>`;
  return [
    intro,
    `<h2>Recipes</h2>${configHtml(comparison)}`,
    `<h2>Models</h2>${tableHtml('Models', columns(['model']), comparison.results.map(resultRow))}`,
    comparison.slices.length === 0
      ? ''
      : `<h2>HR@${k} by slice</h2>${tableHtml('Slices', columns(['slice', 'model', 'windows']), comparison.slices.map(sliceRow))}`,
  ].join('');
}

function configHtml({ config }: RunComparison): string {
  if (config.length === 0) return '<p>They are the same.</p>';
  const shown = (value: unknown) => (value === undefined ? '' : `<code>${escapeHtml(JSON.stringify(value))}</code>`);
  const rows = config.map(({ key, first, second }) => [escapeHtml(key), shown(first), shown(second)]);
  return tableHtml('Recipes', [{ name: 'field' }, { name: 'A' }, { name: 'B' }], rows);
}

const columns = (names: string[]) => [
  ...names.map((name) => ({ name, numeric: name === 'windows' })),
  ...['A', 'B', 'B - A', 'interval', 'better / worse on'].map((name) => ({ name, numeric: true })),
  { name: 'verdict' },
];

function resultRow(result: PairedResult): string[] {
  return [`${MODEL_LABELS[result.model]} ${result.kind.toUpperCase()}@${result.k}`, ...figures(result)];
}

function sliceRow(slice: PairedSlice): string[] {
  const where = escapeHtml(`${SLICE_LABELS[slice.by]}: ${slice.label}`);
  return [where, MODEL_LABELS[slice.model], integer(slice.windows), ...figures(slice)];
}

function figures({ first, second, difference, verdict }: PairedResult): string[] {
  const { mean, low, high, wins, losses } = difference;
  return [rate(first), rate(second), signed(mean), `${signed(low)} to ${signed(high)}`, `${wins} / ${losses}`, verdict];
}
