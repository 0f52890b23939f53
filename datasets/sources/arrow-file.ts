import { readFile, stat } from 'node:fs/promises';
import { type RecordBatchFileReader, RecordBatchReader } from 'apache-arrow';
import { SoftflowError } from '../../errors.ts';
import { checkArrowFile } from '../arrow-check.ts';

/** Arrow files are read as a whole. */
const MAX_ARROW_BYTES = 2 ** 31;

export interface ArrowFile {
  names: string[];
  /** Values of the named columns as text, row by row; null where a column is missing or a value is null. */
  rows(columns: readonly (string | undefined)[]): Generator<(string | null)[]>;
}

/**
 * Opens somebody's Arrow IPC file, checked before Arrow's own reader trusts it.
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_UNREADABLE`
 */
export async function openArrowFile(path: string): Promise<ArrowFile> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) throw unusable(path, 'DATA_NOT_FOUND', 'a data file', 'nothing that can be read');
  if (info.size > MAX_ARROW_BYTES)
    throw unusable(
      path,
      'DATA_UNREADABLE',
      `at most ${MAX_ARROW_BYTES} bytes`,
      `${info.size}; Parquet has no such limit`,
    );
  const bytes = await readFile(path);
  try {
    checkArrowFile(bytes);
  } catch (cause) {
    throw unusable(
      path,
      'DATA_UNREADABLE',
      'a whole Arrow IPC file of texts and numbers, uncompressed (else give Parquet)',
      (cause as Error).message,
      cause,
    );
  }
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const reader = RecordBatchReader.from(aligned).open() as RecordBatchFileReader;
  return { names: reader.schema.fields.map(({ name }) => name), rows: (columns) => rowsOf(reader, columns) };
}

function* rowsOf(reader: RecordBatchFileReader, columns: readonly (string | undefined)[]) {
  for (let i = 0; i < reader.numRecordBatches; i++) {
    const batch = reader.readRecordBatch(i);
    const vectors = columns.map((name) => (name === undefined ? null : (batch?.getChild(name) ?? null)));
    for (let row = 0; row < (batch?.numRows ?? 0); row++)
      yield vectors.map((vector) => {
        const value: unknown = vector?.get(row) ?? null;
        return value === null ? null : String(value);
      });
  }
}

function unusable(path: string, code: string, expected: string, found: string, cause?: unknown): SoftflowError {
  return new SoftflowError(code, `Expected ${expected} at ${path}, found ${found}`, { details: { path }, cause });
}
