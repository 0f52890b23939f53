import { duration, integer, interval, percent, plain, rate, shorten } from './format.ts';
import type { Finding, MetricKind, ModelSummary, RunSummary } from './summary-types.ts';

export interface TerminalTableOptions {
  /** Columns of the terminal; default 100. */
  width?: number;
  /** Bold headings and yellow warnings; default false. */
  color?: boolean;
}

/** What a run's end shows in the terminal: HR, NDCG, generated texts, what they mean, what to run next. */
export function renderTerminalTable(run: RunSummary, options: TerminalTableOptions = {}): string {
  const width = Math.max(40, options.width ?? 100);
  const paint = options.color ? paints.ansi : paints.none;
  const blocks = [
    ...wrap(headline(run), width),
    '',
    ...metricBlock(run, 'hr', width, paint),
    '',
    ...metricBlock(run, 'ndcg', width, paint),
    '',
    ...textBlock(run, width, paint),
    '',
    ...run.findings.flatMap((finding) => sentence(finding, width, paint)),
    '',
    paint.bold('Next'),
    ...run.nextCommands.map((command) => `  ${command}`),
  ];
  return `${blocks.join('\n')}\n`;
}

type Paint = Record<'bold' | 'warn', (text: string) => string>;
const same = (text: string) => text;
const paints: Record<'none' | 'ansi', Paint> = {
  none: { bold: same, warn: same },
  ansi: { bold: (text) => `\u001b[1m${text}\u001b[22m`, warn: (text) => `\u001b[33m${text}\u001b[39m` },
};

function headline(run: RunSummary): string {
  const { windows, titles } = run.data;
  const { resumes: count } = run.telemetry;
  const resumes = count === 0 ? '' : `, resumed ${count === 1 ? 'once' : `${count} times`}`;
  return (
    `${run.runId}: ${integer(windows.train)} train windows, ${integer(windows.test)} test windows, ` +
    `${integer(titles)} titles to rank; ${duration(run.telemetry.seconds)} of steps${resumes}. ` +
    '[ ] is the 95 % bootstrap interval.'
  );
}

type Row = [label: string, ...cells: string[]];

function metricBlock(run: RunSummary, kind: MetricKind, width: number, paint: Paint): string[] {
  const cells = (values: Record<string, number>, shown: string, ks: number[]): string[] =>
    ks.flatMap((k) => [rate(values[k] ?? 0), ...(k === run.headlineK ? [shown] : [])]);
  const rows = (ks: number[]): Row[] => [
    [kind.toUpperCase(), ...ks.flatMap((k) => (k === run.headlineK ? [`@${k}`, '[95 % interval]'] : [`@${k}`]))],
    ...run.models.map(({ label, metrics, intervals }): Row => {
      const own = intervals[kind][run.headlineK];
      return [label, ...cells(metrics[kind], own ? interval(own) : '', ks)];
    }),
    ['chance', ...cells(run.chance[kind], '', ks)],
  ];
  return widestThatFits(run, rows, width, paint);
}

/** Leaves out the K furthest from the headline until the table fits. */
function widestThatFits(run: RunSummary, rows: (ks: number[]) => Row[], width: number, paint: Paint): string[] {
  const byDistance = [...run.ks].sort((a, b) => Math.abs(a - run.headlineK) - Math.abs(b - run.headlineK));
  for (let count = byDistance.length; count > 1; count--) {
    const ks = byDistance.slice(0, count).sort((a, b) => a - b);
    const lines = align(rows(ks), paint);
    if (columnWidth(rows(ks)) <= width) return lines;
  }
  return align(rows([run.headlineK]), paint);
}

function textBlock(run: RunSummary, width: number, paint: Paint): string[] {
  const generating = run.models.filter(({ id }) => id !== 'popularity');
  const rows: Row[] = [
    ['Generated texts', 'exist', 'distinct'],
    ...generating.map(
      ({ label, metrics }): Row => [
        label,
        percent(metrics.existingTitles ?? 0),
        `${metrics.distinctTexts ?? 0}/${metrics.windows}`,
      ],
    ),
  ];
  const room = width - columnWidth(rows) - 2;
  if (room < 24) return align(rows, paint);
  return align(rows, paint).map((line, index) => {
    if (index === 0) return `${line}  ${paint.bold('most frequent')}`;
    return `${line}  ${mostFrequent(generating[index - 1], room)}`;
  });
}

function mostFrequent(model: ModelSummary | undefined, room: number): string {
  const top = model?.topTexts[0];
  if (!model || !top) return '';
  const share = ` ${percent(top.count / model.metrics.windows)}`;
  return `"${shorten(plain(top.text), room - share.length - 2)}"${share}`;
}

const GAP = 2;

function columnWidths(rows: readonly Row[]): number[] {
  return (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
}

function columnWidth(rows: readonly Row[]): number {
  return columnWidths(rows).reduce((sum, width) => sum + width + GAP, -GAP);
}

function align(rows: readonly Row[], paint: Paint): string[] {
  const widths = columnWidths(rows);
  return rows.map((row, index) => {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    const line = cells.join(' '.repeat(GAP)).trimEnd();
    return index === 0 ? paint.bold(line) : cells.join(' '.repeat(GAP));
  });
}

function sentence(finding: Finding, width: number, paint: Paint): string[] {
  const warning = finding.kind === 'warning';
  const lines = wrap(warning ? `Warning: ${finding.text}` : finding.text, width - 2);
  return lines.map((line, index) => `${index === 0 ? '- ' : '  '}${warning ? paint.warn(line) : line}`);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
