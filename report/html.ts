import { type Difference, verdict } from './bootstrap.ts';
import { type Chart, runCharts } from './charts.ts';
import { escapeHtml } from './escape.ts';
import { duration, integer, percent, signed, utilisation } from './format.ts';
import { card, contentsHtml, type Section, sectionHtml } from './html-parts.ts';
import { promotionHtml } from './html-promotion.ts';
import { answersHtml, examplesHtml, metricTable, slicesHtml } from './html-results.ts';
import { configHtml, dataHtml, definitionsHtml, epochsHtml, lineageHtml, timingsHtml } from './html-run.ts';
import { STYLE } from './html-style.ts';
import { type Finding, MODEL_LABELS, type ModelSummary, type RunSummary } from './summary-types.ts';

/**
 * The report of a run as one HTML file that needs nothing else: no script, no request, every text escaped.
 * The same summary gives the same bytes.
 */
export function renderReportHtml(run: RunSummary): string {
  const sections = reportSections(run);
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
<a class="skip" href="#says">Skip to what it says</a>
<header>
<h1>${escapeHtml(run.name)}</h1>
<p class="muted">${escapeHtml(subtitle(run))}</p>
${cards(run)}
${contentsHtml(sections)}
</header>
<main>
${sections.map(sectionHtml).join('\n')}
</main>
<footer>${definitionsHtml(run)}</footer>
</body>
</html>
`;
}

function reportSections(run: RunSummary): Section[] {
  return [
    { id: 'says', title: 'What it says', body: findingsHtml(run.findings) + nextHtml(run) },
    ...(run.promotion ? [{ id: 'promotion', title: 'Promotion', body: promotionHtml(run.promotion) }] : []),
    { id: 'results', title: 'Test results', body: metricTable(run) },
    { id: 'training', title: 'Training', body: chartsHtml(runCharts(run)) + epochsHtml(run) },
    { id: 'slices', title: 'Slices', body: slicesHtml(run) },
    { id: 'answers', title: 'What the models answer', body: answersHtml(run) },
    { id: 'examples', title: 'Examples', body: examplesHtml(run) },
    { id: 'data', title: 'Data', body: dataHtml(run) },
    { id: 'timings', title: 'Timings', body: timingsHtml(run) },
    { id: 'config', title: 'Config', body: configHtml(run) },
    { id: 'lineage', title: 'Lineage', body: lineageHtml(run) },
  ];
}

function subtitle(run: RunSummary): string {
  const { windows, titles } = run.data;
  return (
    `Run ${run.runId}. ${sourceName(run.config.model.source)} on ${sourceName(run.config.data.source)}: ` +
    `${integer(windows.train)} train, ${integer(windows.valid)} validation and ${integer(windows.test)} test windows, ` +
    `${integer(titles)} titles to rank.`
  );
}

/**
 * "{registry: 'movielens-100k'}" -> "movielens-100k"; "{planted: {...}}" -> "planted"; of a path its last part, as the
 * head of a report that is passed on is not to tell where somebody's files lie.
 */
function sourceName(source: object): string {
  const [kind = 'unknown', value] = Object.entries(source)[0] ?? [];
  if (typeof value !== 'string') return kind;
  return kind === 'folder' || kind === 'gguf' ? (value.split(/[\\/]/).findLast((part) => part !== '') ?? kind) : value;
}

function cards(run: RunSummary): string {
  const compared = (['sft', 'popularity'] as const).flatMap((second) => {
    const found = run.comparisons.find((c) => c.first === 'soft' && c.second === second && c.kind === 'hr');
    return found ? [differenceCard(`SOFT against ${MODEL_LABELS[second]}, HR@${found.k}`, found.difference)] : [];
  });
  return `<div class="cards">${[...compared, ...titlesCard(run), ...speedCards(run)].join('')}</div>`;
}

function titlesCard(run: RunSummary): string[] {
  const share = ({ metrics }: ModelSummary) => percent(metrics.existingTitles ?? 0);
  const others = run.models.filter(({ id }) => id !== 'popularity' && id !== 'soft');
  const soft = run.models.find(({ id }) => id === 'soft');
  if (!soft) return [];
  const note = others.map((model) => `${model.label} ${share(model)}`).join(', ');
  return [card('SOFT answers that are titles', share(soft), note)];
}

function speedCards(run: RunSummary): string[] {
  const { seconds, resumes, training } = run.telemetry;
  const time = card('Time in steps', duration(seconds), `resumed ${resumes} ${resumes === 1 ? 'time' : 'times'}`);
  if (!training) return [time];
  const mfu = training.mfu === undefined ? '' : `mfu ${utilisation(training.mfu)}, `;
  const note = `${mfu}over ${duration(training.seconds)} of training`;
  return [time, card('Training speed', `${integer(training.tokensPerSecond)} tokens/s`, note)];
}

function differenceCard(label: string, difference: Difference): string {
  const words = verdict(difference);
  const note = `${words}; 95 % interval ${signed(difference.low)} to ${signed(difference.high)}`;
  return card(label, signed(difference.mean), note, words === 'within noise' ? '' : words);
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
  `<details><summary>What to run next</summary><pre tabindex="0">${run.nextCommands.map(escapeHtml).join('\n')}</pre></details>`;

const chartsHtml = (charts: readonly Chart[]): string => `<div class="charts">${charts.map(chartHtml).join('')}</div>`;

const chartHtml = ({ title, caption, svg }: Chart): string =>
  `<figure><h3>${escapeHtml(title)}</h3>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;
