import { randomBytes } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, extname, join, resolve } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { Field, Float64, Int32, Schema, Utf8 } from 'apache-arrow';
import { SoftflowError } from '../errors.ts';
import { sqlText } from './sources/tabular.ts';
import { encodeTable } from './tables.ts';

/** A column of a table that is handed to people. */
export interface ResultColumn {
  name: string;
  type: 'text' | 'integer' | 'number';
}
/** Values in the order of the columns. */
export type ResultRow = readonly (string | number)[];

export const RESULT_FORMATS = ['csv', 'parquet', 'arrow'] as const;
export type ResultFormat = (typeof RESULT_FORMATS)[number];

const SQL_TYPES = { text: 'VARCHAR', integer: 'INTEGER', number: 'DOUBLE' } as const;

/** The format that a file's name asks for. @throws SoftflowError `USAGE` */
export function resultFormat(path: string): ResultFormat {
  const found = RESULT_FORMATS.find((format) => path.toLowerCase().endsWith(`.${format}`));
  if (found) return found;
  throw new SoftflowError('USAGE', `Expected a file name that ends in .csv, .parquet or .arrow, got ${path}.`);
}

/** What is read is not written over. @throws SoftflowError `USAGE` */
export function requireOtherFile(input: string, output: string): void {
  if (realPath(input) !== realPath(output)) return;
  throw new SoftflowError('USAGE', `Expected another file to write than the one that is read, got ${output} for both.`);
}

/** Before anything is computed for a file that cannot be written. @throws SoftflowError `OUTPUT_NOT_WRITTEN` */
export function requireFolderOf(output: string): void {
  const folder = dirname(resolve(output));
  if (existsSync(folder)) return;
  throw new SoftflowError('OUTPUT_NOT_WRITTEN', `${output} cannot be written: there is no folder ${folder}.`);
}

const realPath = (path: string): string => (existsSync(path) ? realpathSync(path) : resolve(path));

/**
 * Writes rows as CSV, Parquet or Arrow, by the end of the name. The file appears whole or not at all: a file of that
 * name is replaced in one step, and what is interrupted leaves nothing behind.
 *
 * @throws SoftflowError `USAGE`, `OUTPUT_NOT_WRITTEN`
 */
export async function writeResultFile(
  path: string,
  columns: readonly ResultColumn[],
  rows: Iterable<ResultRow>,
): Promise<void> {
  const format = resultFormat(path);
  await writeWhole(path, (temporary) =>
    format === 'arrow' ? writeArrow(temporary, columns, rows) : writeWithDuck(temporary, format, columns, rows),
  );
}

/**
 * Lets `write` make a file beside the target and moves it there in one step.
 * @throws SoftflowError `OUTPUT_NOT_WRITTEN`, and those of `write`
 */
export async function writeWhole(path: string, write: (temporary: string) => Promise<unknown>): Promise<void> {
  const target = resolve(path);
  const temporary = join(dirname(target), `.softflow-${randomBytes(6).toString('hex')}${extname(target)}`);
  try {
    await write(temporary);
    await flush(temporary);
    await rename(temporary, target);
  } catch (cause) {
    if (cause instanceof SoftflowError) throw cause;
    throw new SoftflowError('OUTPUT_NOT_WRITTEN', `${path} cannot be written: ${(cause as Error).message}`, { cause });
  } finally {
    await rm(temporary, { force: true });
  }
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function writeArrow(path: string, columns: readonly ResultColumn[], rows: Iterable<ResultRow>): Promise<void> {
  const types = { text: () => new Utf8(), integer: () => new Int32(), number: () => new Float64() };
  const schema = new Schema(columns.map(({ name, type }) => new Field(name, types[type](), false)));
  const all = [...rows];
  const values = columns.map(({ name }, c) => [name, all.map((row) => row[c] as never)]);
  return writeFile(path, encodeTable(schema, Object.fromEntries(values) as Record<string, never[]>));
}

/** Through a table in memory that DuckDB spills beside the result when it grows. */
async function writeWithDuck(
  path: string,
  format: 'csv' | 'parquet',
  columns: readonly ResultColumn[],
  rows: Iterable<ResultRow>,
): Promise<void> {
  const spill = `${path}.spill`;
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: '1GB',
    threads: '2',
    temp_directory: spill,
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  });
  try {
    const connection = await instance.connect();
    const list = columns.map(({ name, type }) => `${quoteName(name)} ${SQL_TYPES[type]}`).join(', ');
    await connection.run(`CREATE TABLE result (${list})`);
    const appender = await connection.createAppender('result');
    for (const row of rows) {
      row.forEach((value, c) => {
        if (columns[c]?.type === 'text') appender.appendVarchar(String(value));
        else if (columns[c]?.type === 'integer') appender.appendInteger(Number(value));
        else appender.appendDouble(Number(value));
      });
      appender.endRow();
    }
    appender.closeSync();
    const options = format === 'csv' ? 'FORMAT csv, HEADER' : 'FORMAT parquet, COMPRESSION zstd';
    await connection.run(`COPY (FROM result) TO ${sqlText(path)} (${options})`);
    connection.closeSync();
  } finally {
    instance.closeSync();
    await rm(spill, { recursive: true, force: true });
  }
}

const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
