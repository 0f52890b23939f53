import { stringify } from 'yaml';
import type { InspectedFile, Inspection } from '../../datasets/inspect/inspect-data.ts';
import { SoftflowError } from '../../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { oneLine, sanitize, type Terminal } from '../terminal.ts';

export interface InspectOptions {
  items?: string;
  json?: boolean;
}

/** What a data file holds, what may spoil a run, and how to name it in a recipe. */
export async function inspect(path: string, options: InspectOptions, terminal: Terminal): Promise<number> {
  const { inspectFile } = await import('../../datasets/inspect/inspect-data.ts');
  const inspection = await inspectFile(path, options);
  if (options.json) terminal.out(JSON.stringify(inspection, null, 2));
  else for (const line of renderInspection(inspection, terminal)) terminal.out(line);
  return EXIT.ok;
}

/** A data file of any known format as CSV with the names that recipes expect. */
export async function convert(
  path: string,
  options: { output: string; json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const { output } = options;
  if (!output.toLowerCase().endsWith('.csv'))
    throw new SoftflowError('USAGE', `Expected a file name that ends in .csv, got ${output}.`);
  const { convertFile } = await import('../../datasets/inspect/convert.ts');
  const { rows, columns } = await convertFile(path, output);
  if (options.json) terminal.out(JSON.stringify({ output, rows, columns }));
  else terminal.out(`${output}: ${rows} rows of ${columns.join(', ')}. Next: softflow data inspect ${output}`);
  return EXIT.ok;
}

const FORMATS = {
  csv: 'CSV',
  recbole: 'RecBole',
  movielens: 'MovieLens',
  parquet: 'Parquet',
  jsonl: 'JSON lines',
  arrow: 'Arrow',
} as const;
const DELIMITERS: Record<string, string> = { ',': 'comma', '\t': 'tab', ';': 'semicolon', '|': 'bar' };

/** An inspection as lines of text. */
export function renderInspection(inspection: Inspection, { paint }: Pick<Terminal, 'paint'>): string[] {
  const { file, items, kind, counts, times, ratings, checks, mapping } = inspection;
  const faults = Object.entries(counts).filter(([name, n]) => FAULTS[name] !== undefined && n > 0);
  return [
    ...[file, ...(items ? [items] : [])].flatMap(describeFile),
    '',
    `${kind}: ${['rows', 'users', 'items'].flatMap((name) => (counts[name] === undefined ? [] : [`${integer(counts[name])} ${name}`])).join(', ')}`,
    ...faults.map(([name, n]) => `  ${integer(n)} ${FAULTS[name]}`),
    ...(times ? [`  from ${day(times.first)} to ${day(times.last)}, ${UNITS[times.unit]}`] : []),
    ...(ratings ? [`  ratings from ${ratings.min} to ${ratings.max}`] : []),
    '',
    ...checks.flatMap(({ id, count, text, examples }) => [
      `${count === 0 ? paint.green('ok   ') : paint.yellow('look ')} ${id}: ${integer(count)} ${text}`,
      ...(examples.length > 0 ? [`        ${examples.map((example) => oneLine(example, 40)).join(' | ')}`] : []),
    ]),
    ...mapping.notes.map((note) => `note  ${sanitize(note)}`),
    ...(mapping.data
      ? ['', 'To paste into a recipe:', '', ...stringify({ data: mapping.data }).trimEnd().split('\n')]
      : []),
  ];
}

const FAULTS: Record<string, string> = {
  unreadable: 'rows cannot be read',
  missingId: 'rows lack a user or an item',
  badTime: 'rows lack a readable time',
};
const UNITS = { s: 'in Unix seconds', ms: 'in Unix milliseconds', date: 'as dates' } as const;

function describeFile({ path, format, gzip, encoding, header, delimiter, columns, roles }: InspectedFile): string[] {
  const parts = [
    FORMATS[format],
    ...(delimiter === undefined || format === 'recbole' ? [] : [DELIMITERS[delimiter] ?? `"${delimiter}"`]),
    ...(gzip ? ['gzip'] : []),
    ...(encoding === 'utf-8' ? [] : [encoding]),
    ...(header ? [] : ['no header']),
  ];
  const roleOf = (column: string) => Object.entries(roles).find(([, name]) => name === column)?.[0] ?? '-';
  const width = Math.min(Math.max(...columns.map((name) => name.length)), 40);
  return [
    `${oneLine(path, 200)}: ${parts.join(', ')}`,
    ...columns.slice(0, SHOWN).map((name) => `  ${oneLine(name, 40).padEnd(width)}  ${roleOf(name)}`),
    ...(columns.length > SHOWN ? [`  and ${columns.length - SHOWN} more columns`] : []),
  ];
}

const SHOWN = 24;
const integer = (value: number): string => value.toLocaleString('en-US');
const day = (instant: string): string => instant.slice(0, 10);
