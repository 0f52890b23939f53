import { escapeHtml } from './escape.ts';
import { integer, percent, rate, significant } from './format.ts';
import { dot, quoted, scroll, tableHtml } from './html-parts.ts';
import { SLICE_KINDS, SLICE_LABELS, type SliceRow, sliceTable } from './slices.ts';
import { type Example, type MetricKind, MODEL_LABELS, type ModelSummary, type RunSummary } from './summary-types.ts';

/** HR and NDCG of every model at every K with their intervals, and chance. */
export function metricTable(run: RunSummary): string {
  const kinds: MetricKind[] = ['hr', 'ndcg'];
  const eachK = (cell: (kind: MetricKind, k: number, first: string) => string) =>
    kinds.flatMap((kind) => run.ks.map((k, index) => cell(kind, k, index === 0 ? ' first' : ''))).join('');
  const rows = run.models.map(
    (model) =>
      `<tr data-model="${model.id}"><th scope="row">${dot(model.id)}${escapeHtml(model.label)}</th>${eachK(
        (kind, k, first) => {
          const { low = 0, high = 0 } = model.intervals[kind][k] ?? {};
          return `<td class="num${first}">${rate(model.metrics[kind][k] ?? 0)}${range(low, high)}</td>`;
        },
      )}</tr>`,
  );
  const chance = eachK((kind, k, first) => `<td class="num${first}">${rate(run.chance[kind][k] ?? 0)}</td>`);
  const groups = kinds.map(
    (kind) => `<th class="group" scope="colgroup" colspan="${run.ks.length}">${kind.toUpperCase()}</th>`,
  );
  return `${scroll(
    'Test results',
    `<table><thead><tr><td></td>${groups.join('')}</tr><tr><th scope="col">model</th>${eachK(
      (_, k, first) => `<th scope="col" class="num${first}">@${k}</th>`,
    )}</tr></thead><tbody>${rows.join('')}<tr class="chance"><th scope="row">${dot('chance')}chance</th>${chance}</tr></tbody></table>`,
  )}
<p class="muted"><small>Small figures: 95 % bootstrap interval over ${integer(run.data.windows.test)} test windows.</small></p>`;
}

const coarse = (value: number): string => value.toFixed(3).replace(/^0\./, '.');
const range = (low: number, high: number): string => `<small>${coarse(low)}&ndash;${coarse(high)}</small>`;

/** HR at the headline K by history length and by popularity of the target. */
export function slicesHtml(run: RunSummary): string {
  const intro = `<p class="muted">HR@${run.headlineK} on parts of the test windows. A part with few windows has a wide interval: read it before the figure.</p>`;
  const rows = sliceTable(run.slices, run.models, { kind: 'hr', k: run.headlineK, seed: run.config.seed });
  const tables = SLICE_KINDS.map((by) => rows.filter((row) => row.by === by)).filter((own) => own.length > 0);
  return intro + tables.map((own) => sliceTableHtml(run, own)).join('');
}

function sliceTableHtml(run: RunSummary, slices: readonly SliceRow[]): string {
  const label = SLICE_LABELS[slices[0]?.by ?? 'historyLength'];
  const columns = [
    { name: label },
    { name: 'windows', numeric: true },
    ...run.models.map((model) => ({ name: model.label, numeric: true })),
  ];
  const rows = slices.map((slice) => [
    escapeHtml(slice.label),
    integer(slice.windows),
    ...slice.cells.map(({ value }) => `${rate(value.mean)}${range(value.low, value.high)}`),
  ]);
  return `<h3>By ${label}</h3>${tableHtml(`HR@${run.headlineK} by ${label}`, columns, rows)}`;
}

/** What the models say most often, and how much of it exists. */
export function answersHtml(run: RunSummary): string {
  const columns = run.models.filter(({ id }) => id !== 'popularity').map(answerColumn);
  const distilled = run.distillation;
  const note = distilled
    ? `<p class="muted">Self-distilled targets: ${integer(distilled.rows)} rows, ${integer(distilled.distinctTexts)} distinct texts; ${integer(distilled.existingTitles)} are titles of the catalogue, ${integer(distilled.exactTargets)} are the true next title.</p>`
    : '';
  return `${note}<div class="columns">${columns.join('')}</div>`;
}

function answerColumn({ id, label, metrics, topTexts }: ModelSummary): string {
  const facts = [
    `${percent(metrics.existingTitles ?? 0)} are titles of the catalogue`,
    `${integer(metrics.distinctTexts ?? 0)} distinct answers for ${integer(metrics.windows)} windows`,
    ...(metrics.invalid ? [`${integer(metrics.invalid)} empty`] : []),
  ];
  const bars = topTexts.map(({ text, count, exists }) => {
    const share = count / metrics.windows;
    const tag = exists ? '' : ' <span class="tag">not a title</span>';
    return `<li><span class="text">${quoted(text)}${tag}</span><span class="num">${count}</span><meter min="0" max="1" value="${significant(share)}" aria-label="${escapeHtml(`Share of ${text}`)}"></meter></li>`;
  });
  return `<article><h3>${dot(id)}${escapeHtml(label)}</h3><p class="muted">${facts.join('; ')}. Most frequent:</p><ul class="bars">${bars.join('')}</ul></article>`;
}

export function examplesHtml(run: RunSummary): string {
  const intro = `<p class="muted">The first ${run.examples.length} test windows in sampling order, whatever their result. An answer is grounded to the title nearest to it.</p>`;
  return `${intro}<div class="examples">${run.examples.map((example) => exampleHtml(example, run.data.titles)).join('')}</div>`;
}

function exampleHtml({ history, truth, answers }: Example, titles: number): string {
  const rows = answers.map(({ model, generated, exists, grounded, rank }) => {
    const grounding = exists ? '<span class="tag">a title</span>' : `&rarr; ${escapeHtml(grounded)}`;
    return `<dt>${dot(model)}${MODEL_LABELS[model]}</dt><dd>${quoted(generated)} ${grounding}<br><small>truth ranked ${integer(rank)} of ${integer(titles)}</small></dd>`;
  });
  return `<article><p class="history">${history.map(escapeHtml).join(' &middot; ')}</p><p class="truth"><small>then</small> <strong>${escapeHtml(truth)}</strong></p><dl class="answers">${rows.join('')}</dl></article>`;
}
