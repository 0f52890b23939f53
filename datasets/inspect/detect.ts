import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import type { Duck } from '../duck.ts';
import { openArrowFile } from '../sources/arrow-file.ts';
import { columnSql, escapeGlob, openTabular, readCsvSql, sqlText } from '../sources/tabular.ts';
import { checkText, isGzip, readBytes, TEXT_LIMITS, unreadable } from '../sources/text-file.ts';
import { guessRoles, guessRolesByContent, type Roles } from './roles.ts';

export type FileFormat = 'csv' | 'recbole' | 'movielens' | 'parquet' | 'jsonl' | 'arrow';

/** A data file whose format and columns have been guessed, ready to be read by DuckDB. */
export interface DetectedFile {
  path: string;
  format: FileFormat;
  gzip: boolean;
  /** Of text files with columns. */
  delimiter?: string;
  encoding: 'utf-8' | 'latin-1';
  /** False where names were made up. */
  header: boolean;
  columns: string[];
  roles: Roles;
  /** SQL that reads the file; unreadable rows of text go to the table `rejects`. */
  from: string;
  /** The SQL expression of a column's text, NULL where it is empty. */
  text(column: string): string;
}

const DELIMITERS = ['::', '\t', ',', ';', '|'];
const HEAD_BYTES = 1 << 18;
const HEAD_LINES = 20;
/** Files of GroupLens that have no header, by name. */
const MOVIELENS = /^(u\.data|u\.item|u[1-5ab]\.(base|test)|ratings\.dat|movies\.dat)(\.gz)?$/;

/**
 * Guesses format and columns from the file's name and its beginning.
 * @param duck reads Parquet and JSON lines to know their columns
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_EMPTY`, `DATA_UNREADABLE`
 */
export async function detectFile(path: string, duck: Duck): Promise<DetectedFile> {
  const gzip = await isGzip(path);
  const head = await readHead(path, gzip);
  if (head.subarray(0, 4).toString('latin1') === 'PAR1') return detectTyped(path, 'parquet', false, duck);
  if (head.subarray(0, 6).toString('latin1') === 'ARROW1') return detectArrow(path, duck);
  if (head.includes(0)) throw unreadable(path, 'text, a Parquet or an Arrow file', 'a binary file');
  const lines = head
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .split(/\r\n|\n|\r/);
  if (/^\s*\{/.test(lines[0] ?? '')) {
    await checkText({ path, delimiter: ',', quoted: false }, gzip);
    return detectTyped(path, 'jsonl', gzip, duck);
  }
  return detectText(path, gzip, lines.slice(0, HEAD_LINES));
}

async function readHead(path: string, gzip: boolean): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of readBytes(path, gzip)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= HEAD_BYTES) break;
  }
  return Buffer.concat(chunks).subarray(0, HEAD_BYTES);
}

async function detectText(path: string, gzip: boolean, lines: string[]): Promise<DetectedFile> {
  const first = lines[0] ?? '';
  const atomic = /^[^\t:]+:(token|float|token_seq|float_seq)(\t|$)/.test(first);
  const delimiter = atomic ? '\t' : delimiterOf(lines);
  if (MOVIELENS.test(basename(path)) || (!atomic && looksHeadless(first, delimiter)))
    return detectHeadless(path, gzip, delimiter, lines);
  const opened = await openTabular({
    path,
    delimiter,
    quoted: !atomic,
    columns: {},
    ...(atomic ? { nameEnd: ':' } : {}),
  });
  const { names } = opened;
  return {
    path,
    format: atomic ? 'recbole' : 'csv',
    gzip,
    delimiter,
    encoding: (await isUtf8(path, gzip)) ? 'utf-8' : 'latin-1',
    header: true,
    columns: names,
    roles: guessRoles(names),
    from: readCsvSql(opened, 'rejects'),
    text: (column) => columnSql({ ...opened, places: { column: names.indexOf(column) } }, 'column'),
  };
}

/** The separator that the first lines have equally often, the longest where several do. */
function delimiterOf(lines: readonly string[]): string {
  const full = lines.filter((line) => line !== '');
  // The last one may be cut off.
  const sample = full.length > 1 ? full.slice(0, -1) : full;
  const counts = DELIMITERS.map((delimiter) => ({
    delimiter,
    least: Math.min(...sample.map((line) => line.split(delimiter).length - 1)),
  }));
  const best = counts.reduce((a, b) => (b.least > a.least ? b : a));
  return full.length > 0 && best.least > 0 ? best.delimiter : ',';
}

/** A number is no name of a column. */
function looksHeadless(first: string, delimiter: string): boolean {
  const fields = first.split(delimiter);
  return fields.length > 1 && fields.some((field) => /^"?\d+(\.\d+)?"?$/.test(field.trim()));
}

async function detectHeadless(
  path: string,
  gzip: boolean,
  delimiter: string,
  lines: readonly string[],
): Promise<DetectedFile> {
  await checkText({ path, delimiter, quoted: false }, gzip);
  const rows = lines.filter((line) => line !== '').map((line) => line.split(delimiter));
  const names = (rows[0] ?? []).map((_, i) => `column${i + 1}`);
  const encoding = (await isUtf8(path, gzip)) ? 'utf-8' : 'latin-1';
  const quote = delimiter === ',' ? `'"'` : "''";
  return {
    path,
    format: MOVIELENS.test(basename(path)) ? 'movielens' : 'csv',
    gzip,
    delimiter,
    encoding,
    header: false,
    columns: names,
    roles: guessRolesByContent(names, rows),
    from: `read_csv(${sqlText(escapeGlob(path))}, auto_detect = false, header = false, delim = ${sqlText(delimiter)},
      quote = ${quote}, escape = ${quote}, columns = {${names.map((name) => `${name}: 'VARCHAR'`).join(', ')}},
      compression = '${gzip ? 'gzip' : 'none'}', encoding = '${encoding}', ignore_errors = true, store_rejects = true,
      rejects_table = 'rejects', rejects_scan = 'rejects_scans', rejects_limit = 0, parallel = false)`,
    text: (column) => `nullif(${column}, '')`,
  };
}

/** Whether the whole file is UTF-8: a Latin letter may come late. */
async function isUtf8(path: string, gzip: boolean): Promise<boolean> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for await (const chunk of readBytes(path, gzip)) decoder.decode(chunk, { stream: true });
    decoder.decode();
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

/** Parquet and JSON lines carry names and types of their own. */
async function detectTyped(
  path: string,
  format: 'parquet' | 'jsonl',
  gzip: boolean,
  duck: Duck,
): Promise<DetectedFile> {
  const place = sqlText(escapeGlob(path));
  const from =
    format === 'parquet'
      ? `read_parquet(${place})`
      : `read_json(${place}, format = 'newline_delimited', compression = '${gzip ? 'gzip' : 'uncompressed'}', ignore_errors = true,
        maximum_object_size = ${TEXT_LIMITS.lineBytes}, maximum_depth = 1, sample_size = 2048)`;
  const described = await duck.rows<{ column_name: string; column_type: string }>(`DESCRIBE SELECT * FROM ${from}`);
  const types = new Map(described.map(({ column_name, column_type }) => [column_name, column_type]));
  const columns = [...types.keys()];
  return {
    path,
    format,
    gzip,
    encoding: 'utf-8',
    header: true,
    columns,
    roles: guessRoles(columns),
    from,
    text: (column) => typedText(column, types.get(column) ?? ''),
  };
}

/** Its rows as texts in a table of their own: DuckDB reads no Arrow files. */
async function detectArrow(path: string, duck: Duck): Promise<DetectedFile> {
  const { names: columns, rows } = await openArrowFile(path);
  const table = `arrow_${randomBytes(6).toString('hex')}`;
  await duck.run(`CREATE TABLE ${table} (${columns.map((_, i) => `c${i} VARCHAR`).join(', ')})`);
  await duck.appendTexts(table, rows(columns));
  return {
    ...{ path, format: 'arrow', gzip: false, encoding: 'utf-8', header: true, columns },
    ...{ roles: guessRoles(columns), from: table },
    text: (column) => `nullif(c${columns.indexOf(column)}, '')`,
  };
}

function typedText(column: string, type: string): string {
  const name = `"${column.replaceAll('"', '""')}"`;
  if (/^(TIMESTAMP|DATE)/.test(type)) return `epoch_ms(${name}::TIMESTAMP)::VARCHAR`;
  if (type === 'JSON') return `nullif(${name} ->> '$', '')`;
  return `nullif(${name}::VARCHAR, '')`;
}
