import { SoftflowError } from '../../errors.ts';
import { refuseCodeBytes, refuseCodeName } from './code-formats.ts';
import type { Split } from './splits.ts';
import { checkText, isGzip, readBytes, TEXT_LIMITS, unreadable } from './text-file.ts';

/** A text file of rows and columns, plain or gzip, with a header line. */
export interface TabularFile {
  path: string;
  delimiter: string;
  /** Whether `"` quotes values (CSV) or is a character like any other (RecBole). */
  quoted: boolean;
  /** The file's own column name for each role; null when the file has none. */
  columns: Record<string, string | null>;
  /** Roles whose column may be missing in the file although it is named. */
  optional?: readonly string[];
  /** What follows the name of a column in the header, from this character on: `user_id:token`. */
  nameEnd?: string;
  /** What all of its rows are for, where that is not said by a column. */
  split?: Split;
  /** Roles whose values are Unix milliseconds whatever the unit of times is said to be. */
  milliseconds?: readonly string[];
}

/** A file whose header was read: how many columns it has and where each role stands. */
export interface OpenedFile extends TabularFile {
  gzip: boolean;
  /** Every column's name as the header has it. */
  names: string[];
  width: number;
  /** 0-based place of each role's column; null when there is none. */
  places: Record<string, number | null>;
}

const MAX_HEADER_BYTES = 1 << 20;
/** DuckDB needs seconds for more. */
const MAX_COLUMNS = 4096;

/**
 * Reads the header and finds the columns.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_EMPTY`, `DATA_COLUMN_MISSING`, `DATA_UNREADABLE` or
 *   `DATA_UNSUPPORTED`
 */
export async function openTabular(file: TabularFile): Promise<OpenedFile> {
  refuseCodeName(file.path);
  const gzip = await isGzip(file.path);
  const names = (await readHeader(file, gzip)).map((name) =>
    file.nameEnd ? (name.split(file.nameEnd)[0] ?? '') : name,
  );
  const places: Record<string, number | null> = {};
  const missing: string[] = [];
  for (const [role, name] of Object.entries(file.columns)) {
    const place = name === null ? -1 : names.indexOf(name);
    places[role] = place < 0 ? null : place;
    if (name !== null && place < 0 && !file.optional?.includes(role)) missing.push(name);
  }
  if (missing.length > 0) throw missingColumns(file, names, missing);
  await checkText(file, gzip);
  return { ...file, gzip, names, width: names.length, places };
}

/**
 * SQL that reads every row as text, in the order of the file. Unreadable rows go to the table `rejects`. One thread
 * reads, because rejected and quoted lines are only then counted the same way every time.
 */
export function readCsvSql(file: OpenedFile, rejects: string): string {
  const quote = file.quoted ? `'"'` : "''";
  const columns = Array.from({ length: file.width }, (_, i) => `c${i}: 'VARCHAR'`).join(', ');
  return `read_csv(${sqlText(escapeGlob(file.path))}, auto_detect = false, header = true, delim = ${sqlText(file.delimiter)},
    quote = ${quote}, escape = ${quote}, columns = {${columns}}, compression = '${file.gzip ? 'gzip' : 'none'}',
    ignore_errors = true, store_rejects = true, rejects_table = '${rejects}', rejects_scan = '${rejects}_scans', rejects_limit = 0,
    max_line_size = ${TEXT_LIMITS.lineBytes + '\r\n'.length}, buffer_size = ${2 * TEXT_LIMITS.lineBytes}, parallel = false)`;
}

/** The SQL expression of a role's text: NULL when the column does not exist or the value is empty. */
export function columnSql(file: OpenedFile, role: string): string {
  const place = file.places[role];
  return place === null || place === undefined ? 'NULL::VARCHAR' : `nullif(c${place}, '')`;
}

/** A text literal of SQL. */
export function sqlText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** The path as DuckDB has to be given it, so that no character of it is a pattern. */
export function escapeGlob(path: string): string {
  return path.replace(/[*?[]/g, '[$&]');
}

async function readHeader(file: TabularFile, gzip: boolean): Promise<string[]> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of readBytes(file.path, gzip)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_HEADER_BYTES || Buffer.concat(chunks).includes('\n')) break;
  }
  const head = Buffer.concat(chunks);
  refuseCodeBytes(file.path, head);
  if (bytes >= MAX_HEADER_BYTES && !head.includes('\n'))
    throw unreadable(file.path, `a header line of at most ${MAX_HEADER_BYTES} bytes`, 'a longer one');
  const text = head.toString('utf8').replace(/^\ufeff/, '');
  const names = splitHeader(text, file);
  if (names.length > MAX_COLUMNS) throw unreadable(file.path, `at most ${MAX_COLUMNS} columns`, `${names.length}`);
  if (names.length === 1 && names[0]?.trim() === '')
    throw new SoftflowError('DATA_EMPTY', `Expected a header line and rows in ${file.path}, found an empty file`, {
      details: { path: file.path },
    });
  return names;
}

/** The names of the first line. A line break inside a quoted name is not supported: no known format has one. */
function splitHeader(text: string, file: TabularFile): string[] {
  const line = text.split(/\r\n|\n|\r/, 1)[0] ?? '';
  if (!file.quoted) return line.split(file.delimiter);
  const names: string[] = [];
  let at = 0;
  while (at <= line.length) {
    const quoted = /^"((?:[^"]|"")*)"/.exec(line.slice(at));
    const end = line.indexOf(file.delimiter, at + (quoted?.[0].length ?? 0));
    const stop = end < 0 ? line.length : end;
    names.push(quoted ? (quoted[1] as string).replaceAll('""', '"') : line.slice(at, stop));
    at = stop + file.delimiter.length;
    if (end < 0) break;
  }
  return names;
}

function missingColumns(file: TabularFile, names: string[], missing: string[]): SoftflowError {
  const other = names.length === 1 ? [',', '\t', ';', '|'].find((mark) => names[0]?.includes(mark)) : undefined;
  const hint = other
    ? `the header has no ${JSON.stringify(file.delimiter)} but ${JSON.stringify(other)}: set \`data.source.csv.delimiter\``
    : 'name the columns under `data.source`';
  return new SoftflowError(
    'DATA_COLUMN_MISSING',
    `Expected column ${missing.map((name) => `"${name}"`).join(', ')} in ${file.path}, found ${names
      .slice(0, 50)
      .map((name) => `"${name}"`)
      .join(', ')}; ${hint}`,
    { details: { path: file.path, missing, found: names } },
  );
}
