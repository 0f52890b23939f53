import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import { escapeGlob, sqlText, type TabularFile } from './tabular.ts';

/**
 * Writes the named columns of all Parquet files under a folder (or of one file) into a CSV file of the roles' names.
 * Rows come in the order of the files' paths and of their places in the file.
 *
 * @param columns the files' own column name for each role; null when there is none
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_EMPTY`, `DATA_COLUMN_MISSING` or `DATA_UNREADABLE`
 */
export async function copyParquet(
  duck: Duck,
  path: string,
  columns: Record<string, string | null>,
  target: string,
): Promise<TabularFile> {
  const files = (await parquetFiles(path)).map((file) => sqlText(escapeGlob(file)));
  const table = `read_parquet([${files.join(', ')}], union_by_name = true, hive_partitioning = false, binary_as_string = true,
    filename = 'softflow_file', file_row_number = true)`;
  const types = await columnTypes(duck, table);
  const named = Object.entries(columns).filter((entry): entry is [string, string] => entry[1] !== null);
  const missing = named.map(([, name]) => name).filter((name) => !types.has(name));
  if (missing.length > 0) throw missingColumns(path, missing, [...types.keys()]);
  const selected = named.map(([role, name]) => `${valueSql(name, types.get(name) as string)} AS ${identifier(role)}`);
  await duck.run(`COPY (SELECT ${selected.join(', ')} FROM ${table} ORDER BY softflow_file, file_row_number)
    TO ${sqlText(target)} (FORMAT csv, HEADER true)`);
  return {
    path: target,
    delimiter: ',',
    quoted: true,
    columns: Object.fromEntries(Object.entries(columns).map(([role, name]) => [role, name === null ? null : role])),
    milliseconds: named.filter(([, name]) => isTime(types.get(name) as string)).map(([role]) => role),
  };
}

/** Sorted by the bytes of their paths. Names that begin with `.` or `_` are how writers mark what is not finished. */
async function parquetFiles(path: string): Promise<string[]> {
  const found = await guarded(path, async () => {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = await readdir(path, { recursive: true });
    return names
      .filter((name) => name.endsWith('.parquet') && !/(^|[/\\])[._]/.test(name))
      .map((name) => join(path, name));
  });
  if (found.length === 0)
    throw new SoftflowError('DATA_EMPTY', `Expected files *.parquet in ${path}, found none; check \`data.source\``, {
      details: { path },
    });
  return found.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

async function guarded<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new SoftflowError(
      'DATA_NOT_FOUND',
      `Expected a readable folder or file at ${path}, found ${code === 'ENOENT' ? 'nothing' : code}; check \`data.source\``,
      { details: { path }, cause },
    );
  }
}

async function columnTypes(duck: Duck, table: string): Promise<Map<string, string>> {
  const rows = await duck.rows<{ column_name: string; column_type: string }>(`DESCRIBE SELECT * FROM ${table}`);
  const own = rows.filter(({ column_name: name }) => name !== 'softflow_file' && name !== 'file_row_number');
  return new Map(own.map(({ column_name: name, column_type: type }) => [name, type]));
}

function isTime(type: string): boolean {
  return type.startsWith('TIMESTAMP') || type === 'DATE';
}

/** Text of a value; of a time its Unix milliseconds. A time without a zone is UTC. */
function valueSql(name: string, type: string): string {
  const column = identifier(name);
  return isTime(type) ? `epoch_ms(${column}::TIMESTAMP)` : `${column}::VARCHAR`;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function missingColumns(path: string, missing: string[], found: string[]): SoftflowError {
  const list = (names: string[]) =>
    names
      .slice(0, 50)
      .map((name) => `"${name}"`)
      .join(', ');
  return new SoftflowError(
    'DATA_COLUMN_MISSING',
    `Expected column ${list(missing)} in the Parquet files of ${path}, found ${list(found)}; name the columns under \`data.source\``,
    { details: { path, missing, found } },
  );
}
