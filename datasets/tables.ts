import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AsyncByteQueue,
  DataType,
  makeData,
  RecordBatch,
  RecordBatchFileReader,
  RecordBatchFileWriter,
  RecordBatchReader,
  type Schema,
  Struct,
  Table,
  tableToIPC,
} from 'apache-arrow';
import { SoftflowError } from '../errors.ts';
import { checkArrowFile, damaged } from './arrow-check.ts';
import { type Column, type ColumnInput, concatColumns, decodeColumn, encodeColumn, rowsOf } from './columns.ts';
import {
  type CurriculumRow,
  type DistanceRow,
  type DistilledRow,
  embeddingsSchema,
  type ItemRow,
  type PredictionRow,
  type RecommendationRow,
  SCHEMAS,
  type TitleRow,
  type WindowRow,
} from './schemas.ts';

export type TableName = keyof typeof SCHEMAS;

/** A read table: its row count and its columns by name. */
export interface DecodedTable {
  rows: number;
  columns: Record<string, Column>;
}

/** Title embeddings: `vectors` is flat, `[titleRows.length * size]`, row by row. */
export interface Embeddings {
  titleRows: Int32Array;
  vectors: Float32Array;
  size: number;
}

/**
 * An Arrow IPC file: uncompressed, one record batch, no metadata, so the same columns always give the same bytes.
 *
 * @param columns every column of the schema by its name
 * @throws SoftflowError `TABLE_INVALID` when a column is missing, of another length or of another type
 */
export function encodeTable(table: TableName | Schema, columns: Record<string, ColumnInput>): Uint8Array {
  const schema = schemaOf(table);
  return tableToIPC(new Table(schema, [recordBatch(schema, columns)]), 'file');
}

/**
 * The columns of an Arrow IPC file. The store has checked the file's digest; what is checked here is that it is whole
 * and of the expected schema, and that every offset lies inside its buffer.
 *
 * @throws SoftflowError `TABLE_DAMAGED` when it is no whole Arrow file, `TABLE_SCHEMA` when its schema is another
 */
export function decodeTable(bytes: Uint8Array, table: TableName | Schema): DecodedTable {
  const name = typeof table === 'string' ? table : 'table';
  return guarded(() => readColumns(openTable(bytes), schemaOf(table), name));
}

/** Writes an Arrow IPC file batch by batch, in bounded memory. Batches are record batches of the file, in order. */
export async function writeTableFile(
  path: string,
  table: TableName | Schema,
  batches: AsyncIterable<Record<string, ColumnInput>>,
): Promise<void> {
  await pipeline(Readable.from(fileBytes(schemaOf(table), batches)), createWriteStream(path));
}

/** Arrow's own stream for this leaves a rejection behind that nobody can catch when its source fails half-way. */
async function* fileBytes(schema: Schema, batches: AsyncIterable<Record<string, ColumnInput>>) {
  const written = new Written();
  const writer = new RecordBatchFileWriter().reset(written, schema);
  for await (const columns of batches) {
    writer.write(recordBatch(schema, columns));
    yield* written.take();
  }
  writer.close();
  yield* written.take();
}

/** Where Arrow's writer puts its bytes until they are taken. */
class Written extends AsyncByteQueue {
  #chunks: Uint8Array[] = [];

  override write(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
  }

  take(): Uint8Array[] {
    const taken = this.#chunks;
    this.#chunks = [];
    return taken;
  }
}

export const encodeItems = (rows: readonly ItemRow[]) => encodeRows('items', rows);
export const encodeTitles = (rows: readonly TitleRow[]) => encodeRows('titles', rows);
export const encodeWindows = (rows: readonly WindowRow[]) => encodeRows('windows', rows);
export const encodeDistilled = (rows: readonly DistilledRow[]) => encodeRows('distilled', rows);
export const encodeDistances = (rows: readonly DistanceRow[]) => encodeRows('distances', rows);
export const encodePredictions = (rows: readonly PredictionRow[]) => encodeRows('predictions', rows);
export const encodeRecommendations = (rows: readonly RecommendationRow[]) => encodeRows('recommendations', rows);
export const encodeCurriculum = (rows: readonly CurriculumRow[]) => encodeRows('curriculum', rows);

export const decodeItems = (bytes: Uint8Array) => decodeRows<ItemRow>(bytes, 'items');
export const decodeTitles = (bytes: Uint8Array) => decodeRows<TitleRow>(bytes, 'titles');
export const decodeWindows = (bytes: Uint8Array) => decodeRows<WindowRow>(bytes, 'windows');
export const decodeDistilled = (bytes: Uint8Array) => decodeRows<DistilledRow>(bytes, 'distilled');
export const decodeDistances = (bytes: Uint8Array) => decodeRows<DistanceRow>(bytes, 'distances');
export const decodePredictions = (bytes: Uint8Array) => decodeRows<PredictionRow>(bytes, 'predictions');
export const decodeRecommendations = (bytes: Uint8Array) => decodeRows<RecommendationRow>(bytes, 'recommendations');
export const decodeCurriculum = (bytes: Uint8Array) => decodeRows<CurriculumRow>(bytes, 'curriculum');

/**
 * @param vectors flat, `[n * size]`, row i belongs to `titleRows[i]`; by default rows 0, 1, ...
 * @throws SoftflowError `TABLE_INVALID`
 */
export function encodeEmbeddings(vectors: Float32Array, size: number, titleRows?: Int32Array): Uint8Array {
  const rows = titleRows ?? Int32Array.from({ length: vectors.length / size }, (_, i) => i);
  return encodeTable(embeddingsSchema(size), { titleRow: rows, embedding: vectors });
}

/** The vectors are a view of `bytes` where that is possible: do not write into them. */
export function decodeEmbeddings(bytes: Uint8Array): Embeddings {
  return guarded(() => {
    const table = openTable(bytes);
    const type = table.schema.fields[1]?.type;
    const size = DataType.isFixedSizeList(type) ? type.listSize : 1;
    const { columns } = readColumns(table, embeddingsSchema(size), 'embeddings');
    return { titleRows: columns['titleRow'] as Int32Array, vectors: columns['embedding'] as Float32Array, size };
  });
}

function encodeRows<Row extends object>(table: TableName, rows: readonly Row[]): Uint8Array {
  const columns: Record<string, ColumnInput> = {};
  for (const { name } of SCHEMAS[table].fields)
    columns[name] = rows.map((row) => (row as Record<string, never>)[name] as never);
  return encodeTable(table, columns);
}

function decodeRows<Row>(bytes: Uint8Array, table: TableName): Row[] {
  const { rows, columns } = decodeTable(bytes, table);
  const entries = Object.entries(columns);
  return Array.from(
    { length: rows },
    (_, i) => Object.fromEntries(entries.map(([name, column]) => [name, column[i]])) as Row,
  );
}

function schemaOf(table: TableName | Schema): Schema {
  return typeof table === 'string' ? SCHEMAS[table] : table;
}

function recordBatch(schema: Schema, columns: Record<string, ColumnInput>): RecordBatch {
  const given = schema.fields.map((field) => {
    const values = columns[field.name];
    if (!values) throw new SoftflowError('TABLE_INVALID', `Expected column ${field.name}, got ${Object.keys(columns)}`);
    return { field, values, rows: rowsOf(field, values) };
  });
  const rows = given[0]?.rows ?? 0;
  for (const { field, rows: found } of given)
    if (found !== rows)
      throw new SoftflowError('TABLE_INVALID', `Expected ${rows} rows in column ${field.name}, got ${found}`);
  const children = given.map(({ field, values }) => encodeColumn(field, values));
  return new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length: rows, nullCount: 0, children }));
}

interface OpenedTable {
  schema: Schema;
  batches: RecordBatch[];
}

/** Batches are asked for one by one, since Arrow's own iterator never ends when a block holds anything else. */
function openTable(bytes: Uint8Array): OpenedTable {
  checkArrowFile(bytes);
  // Arrow's buffers are typed arrays on the same memory, which must then start at a multiple of eight.
  const reader = RecordBatchReader.from(bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()).open();
  if (!(reader instanceof RecordBatchFileReader)) throw damaged('a stream');
  const batches = Array.from({ length: reader.numRecordBatches }, (_, i) => {
    const batch = reader.readRecordBatch(i);
    if (!batch) throw damaged(`no record batch ${i}`);
    return batch;
  });
  return { schema: reader.schema, batches };
}

/** Whatever Arrow's reader still throws, at once or when a value is touched, means a damaged file. */
function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof SoftflowError) throw cause;
    throw damaged(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function readColumns(table: OpenedTable, schema: Schema, name: string): DecodedTable {
  const [expected, received] = [describeSchema(schema), describeSchema(table.schema)];
  if (expected !== received)
    throw new SoftflowError(
      'TABLE_SCHEMA',
      `The ${name} table has another schema.\nExpected {${expected}}\nReceived {${received}}`,
      { details: { expected, received } },
    );
  const { batches } = table;
  const columns: Record<string, Column> = {};
  schema.fields.forEach((field, i) => {
    const parts = batches.map((batch) => {
      const data = batch.data.children[i];
      if (!data) throw damaged(`column ${field.name} is missing in a batch`);
      return decodeColumn(field.name, data, batch.numRows);
    });
    columns[field.name] =
      parts.length > 0 ? concatColumns(parts) : decodeColumn(field.name, encodeColumn(field, []), 0);
  });
  return { rows: batches.reduce((sum, batch) => sum + batch.numRows, 0), columns };
}

function describeSchema(schema: Schema): string {
  return schema.fields.map((field) => `${field.name}: ${field.type}${field.nullable ? '?' : ''}`).join(', ');
}
