import { type Difference, verdict } from './bootstrap.ts';
import { type Chart, runCharts } from './charts.ts';
import { escapeHtml } from './escape.ts';
import { bytes, duration, integer, percent, rate, signed, significant } from './format.ts';
import { STYLE } from './html-style.ts';
import {
  type Example,
  type Finding,
  type MetricKind,
  MODEL_LABELS,
  type ModelId,
  type ModelSummary,
  type RunSummary,
} from './summary-types.ts';

/**
 * The report of a run as one HTML file that needs nothing else: no script, no request, every text escaped.
 * The same summary gives the same bytes.
 */
export function renderReportHtml(run: RunSummary): string {
  const sections = [
    section('What it says', findingsHtml(run.findings) + nextHtml(run)),
    section('Test results', metricTable(run)),
    section('Training', `<div class="charts">${runCharts(run).map(chartHtml).join('')}</div>`),
    section('What the models answer', answersHtml(run)),
    section('Examples', examplesHtml(run)),
    section('Data', dataHtml(run)),
    section('Timings', timingsHtml(run)),
    section('Config', `<details><summary>Resolved config</summary>${json(run.config)}</details>`),
    section('Lineage', lineageHtml(run)),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(run.name)}: softflow report</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${escapeHtml(run.name)}</h1>
<p class="muted">${escapeHtml(subtitle(run))}</p>
${cards(run)}
</header>
<main>
${sections.join('\n')}
</main>
<footer>${definitions(run)}</footer>
</body>
</html>
`;
}

const section = (title: string, body: string): string => `<section>\n<h2>${title}</h2>\n${body}\n</section>`;

function subtitle(run: RunSummary): string {
  const { windows, titles } = run.data;
  return (
    `Run ${run.runId}. ${sourceName(run.config.model.source)} on ${sourceName(run.config.data.source)}: ` +
    `${integer(windows.train)} train, ${integer(windows.valid)} validation and ${integer(windows.test)} test windows, ` +
    `${integer(titles)} titles to rank.`
  );
}

/** "{registry: 'movielens-100k'}" -> "movielens-100k"; "{planted: {...}}" -> "planted". */
function sourceName(source: object): string {
  const [kind = 'unknown', value] = Object.entries(source)[0] ?? [];
  return typeof value === 'string' ? value : kind;
}

function cards(run: RunSummary): string {
  const compared = (['sft', 'popularity'] as const).flatMap((second) => {
    const found = run.comparisons.find((c) => c.first === 'soft' && c.second === second && c.kind === 'hr');
    return found ? [differenceCard(`SOFT against ${MODEL_LABELS[second]}, HR@${found.k}`, found.difference)] : [];
  });
  const existing = run.models.filter(({ id }) => id !== 'popularity' && id !== 'soft');
  const soft = run.models.find(({ id }) => id === 'soft');
  const share = ({ metrics }: ModelSummary) => percent(metrics.existingTitles ?? 0);
  if (soft)
    compared.push(
      card('SOFT answers that are titles', share(soft), existing.map((m) => `${m.label} ${share(m)}`).join(', ')),
    );
  const { seconds, resumes } = run.telemetry;
  compared.push(card('Time in steps', duration(seconds), `resumed ${resumes} ${resumes === 1 ? 'time' : 'times'}`));
  return `<div class="cards">${compared.join('')}</div>`;
}

function differenceCard(label: string, difference: Difference): string {
  const words = verdict(difference);
  const note = `${words}; 95 % interval ${signed(difference.low)} to ${signed(difference.high)}`;
  return card(label, signed(difference.mean), note, words === 'within noise' ? '' : words);
}

function card(label: string, value: string, note: string, tone = ''): string {
  return (
    `<div class="card"><div class="label">${escapeHtml(label)}</div>` +
    `<div class="value ${tone}">${escapeHtml(value)}</div><div class="note muted">${escapeHtml(note)}</div></div>`
  );
}

function findingsHtml(findings: readonly Finding[]): string {
  const list = (kinds: Finding['kind'][], name: string) => {
    const items = findings
      .filter(({ kind }) => kinds.includes(kind))
      .map(({ text }) => `<li>${escapeHtml(text).replaceAll(' %', '&nbsp;%')}</li>`);
    return items.length === 0 ? '' : `<ul class="findings ${name}">${items.join('')}</ul>`;
  };
  return list(['result', 'scope'], 'plain') + list(['warning'], 'warning');
}

const nextHtml = (run: RunSummary): string =>
  `<details><summary>What to run next</summary><pre>${run.nextCommands.map(escapeHtml).join('\n')}</pre></details>`;

function metricTable(run: RunSummary): string {
  const kinds: MetricKind[] = ['hr', 'ndcg'];
  const eachK = (cell: (kind: MetricKind, k: number, first: string) => string) =>
    kinds.flatMap((kind) => run.ks.map((k, index) => cell(kind, k, index === 0 ? ' first' : ''))).join('');
  const rows = run.models.map(
    (model) =>
      `<tr><th scope="row">${dot(model.id)}${escapeHtml(model.label)}</th>${eachK((kind, k, first) => {
        const { low = 0, high = 0 } = model.intervals[kind][k] ?? {};
        return `<td class="num${first}">${rate(model.metrics[kind][k] ?? 0)}<small>${coarse(low)}&ndash;${coarse(high)}</small></td>`;
      })}</tr>`,
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
const dot = (id: ModelId | 'chance'): string => `<span class="dot ${id}"></span>`;

const scroll = (label: string, content: string): string =>
  `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(label)}">${content}</div>`;

const chartHtml = ({ title, caption, svg }: Chart): string =>
  `<figure><h3>${escapeHtml(title)}</h3>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;

function answersHtml(run: RunSummary): string {
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

const quoted = (text: string): string => (text === '' ? '<em>empty</em>' : escapeHtml(text));

function examplesHtml(run: RunSummary): string {
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

function dataHtml(run: RunSummary): string {
  const rows = Object.entries(run.data.counts).map(
    ([name, count]) => `<tr><th scope="row">${escapeHtml(words(name))}</th><td class="num">${integer(count)}</td></tr>`,
  );
  const table = scroll(
    'Row counts',
    `<table><thead><tr><th scope="col">count</th><th scope="col" class="num">rows</th></tr></thead><tbody>${rows.join('')}</tbody></table>`,
  );
  const card = run.data.card ? `<details><summary>Dataset card</summary>${json(run.data.card)}</details>` : '';
  return `<div class="narrow">${table}</div>${card}`;
}

/** belowCore -> below core */
const words = (name: string): string => name.replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);

function timingsHtml(run: RunSummary): string {
  const rows = run.telemetry.steps.map((step) => {
    const speed = [
      ...(step.rate === undefined ? [] : [`${significant(step.rate)} ${step.unit ?? 'units'}/s`]),
      ...(step.tokensPerSecond === undefined ? [] : [`${integer(step.tokensPerSecond)} tokens/s`]),
      ...(step.mfu === undefined ? [] : [`${percent(step.mfu)} of peak`]),
    ];
    const cells = [
      step.reused ? '' : duration(step.seconds),
      speed.join(', '),
      step.resumes > 0 ? String(step.resumes) : '',
      step.peakRssBytes === undefined ? '' : bytes(step.peakRssBytes),
      step.reused ? 'an earlier run' : 'this run',
    ];
    return `<tr><th scope="row">${escapeHtml(step.label)}</th>${cells.map((cell) => `<td class="num">${escapeHtml(cell)}</td>`).join('')}</tr>`;
  });
  const head = ['time', 'speed', 'resumes', 'peak memory', 'done by'].map(
    (name) => `<th scope="col" class="num">${name}</th>`,
  );
  return scroll(
    'Timings',
    `<table><thead><tr><th scope="col">step</th>${head.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`,
  );
}

function lineageHtml(run: RunSummary): string {
  const rows = run.lineage.flatMap(({ label, key, reused, artifacts }) => {
    const step = `<th scope="rowgroup" rowspan="${artifacts.length}">${escapeHtml(label)}${reused ? ' <span class="tag">reused</span>' : ''}<br><small title="step key ${escapeHtml(key)}">key ${escapeHtml(key.slice(0, 12))}</small></th>`;
    return artifacts.map(
      ({ name, sha256, bytes: size, rows: count, schema }, index) =>
        `<tr>${index === 0 ? step : ''}<td>${escapeHtml(name)}</td><td>${escapeHtml(schema ?? '')}</td><td class="num">${count === undefined ? '' : integer(count)}</td><td class="num">${bytes(size)}</td><td class="digest"><code>${escapeHtml(sha256)}</code></td></tr>`,
    );
  });
  const head =
    '<th scope="col">step</th><th scope="col">artifact</th><th scope="col">schema</th><th scope="col" class="num">rows</th><th scope="col" class="num">size</th><th scope="col">SHA-256</th>';
  const adapters = `<p>Adapters: SFT <code class="digest">${escapeHtml(run.digests.sftAdapter)}</code>, SOFT <code class="digest">${escapeHtml(run.digests.softAdapter)}</code></p>`;
  const fingerprint = `<details><summary>Fingerprint: what these bytes depend on</summary>${json(run.fingerprint)}</details>`;
  return `${adapters}${scroll('Lineage', `<table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`)}${fingerprint}`;
}

const json = (value: unknown): string =>
  `<pre>${JSON.stringify(value, null, 2).split('\n').map(escapeLine).join('\n')}</pre>`;

/** Indentation survives; everything else is escaped as any text. */
const escapeLine = (line: string): string => (/^ */.exec(line)?.[0] ?? '') + escapeHtml(line.trimStart());

function definitions(run: RunSummary): string {
  return `<p>HR@K: share of test windows whose true next title is among the first K of ${integer(run.data.titles)}. NDCG@K: the same, each hit worth 1 / log2(rank + 1). Titles at the same distance as the true one count against the model. Chance: a ranking drawn at random. Intervals: 95 % percentile bootstrap over test windows, paired where two models are compared; a model without a hit has the exact binomial bound. "Within noise": the interval of the difference holds 0, or the two differ on fewer than 6 windows.</p>`;
}
