import { Bool, type Data, DataType, type Field, makeData } from 'apache-arrow';
import { SoftflowError } from '../errors.ts';

/** What a column may be given as: one value a row, or, for a fixed-size list, all rows flat. */
export type ColumnInput =
  | readonly string[]
  | readonly number[]
  | readonly bigint[]
  | readonly boolean[]
  | Int32Array
  | Float64Array
  | Float32Array
  | BigInt64Array
  | readonly (readonly number[])[]
  | readonly (readonly string[])[];

/** What a column is read as: text and lists as arrays, numbers as typed arrays, a fixed-size list flat (`[n * size]`). */
export type Column =
  | string[]
  | boolean[]
  | Int32Array
  | Float64Array
  | Float32Array
  | BigInt64Array
  | number[][]
  | string[][];

const MAX_INT32 = 2 ** 31 - 1;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * One Arrow column without nulls.
 *
 * @throws SoftflowError `TABLE_INVALID` when a value does not fit the field's type
 */
export function encodeColumn(field: Field, values: ColumnInput): Data {
  const { type } = field;
  const length = values.length;
  if (DataType.isUtf8(type)) {
    const { bytes, offsets } = encodeStrings(field, values as readonly string[]);
    return makeData({ type, length, nullCount: 0, valueOffsets: offsets, data: bytes });
  }
  if (DataType.isInt(type) && type.bitWidth === 32)
    return makeData({ type, length, nullCount: 0, data: toInt32(field, values as readonly number[]) });
  if (DataType.isInt(type)) return makeData({ type, length, nullCount: 0, data: toInt64(values as readonly bigint[]) });
  if (DataType.isFloat(type)) return makeData({ type, length, nullCount: 0, data: toFloat(field, values) });
  if (DataType.isBool(type)) return makeData({ type: new Bool(), length, nullCount: 0, data: toBits(values) });
  if (DataType.isList(type)) return encodeList(field, values as readonly (readonly number[])[]);
  if (DataType.isFixedSizeList(type)) {
    const child = encodeColumn(type.children[0] as Field, values);
    return makeData({ type, length: length / type.listSize, nullCount: 0, child });
  }
  throw new SoftflowError(
    'TABLE_INVALID',
    `Expected a column type that softflow writes, got ${type} for ${field.name}`,
  );
}

/** Number of rows that `values` hold for this field. */
export function rowsOf(field: Field, values: ColumnInput): number {
  return DataType.isFixedSizeList(field.type) ? values.length / field.type.listSize : values.length;
}

/**
 * Values of one batch's column. Lengths and offsets are checked against the buffers, because the reader of the file
 * format trusts them.
 *
 * @throws SoftflowError `TABLE_DAMAGED`
 */
export function decodeColumn(name: string, data: Data, rows: number): Column {
  const { type } = data;
  check(name, data.length === rows && data.nullCount === 0 && data.offset === 0, `${rows} rows without nulls`);
  if (DataType.isUtf8(type)) return decodeStrings(name, data, rows);
  if (DataType.isList(type)) return decodeList(name, data, rows);
  if (DataType.isFixedSizeList(type)) {
    const child = data.children[0];
    check(name, child !== undefined && child.length === rows * type.listSize, `${rows} lists of ${type.listSize}`);
    return decodeColumn(name, child as Data, rows * type.listSize);
  }
  if (DataType.isBool(type)) {
    const bits = data.values as Uint8Array;
    check(name, bits.length * 8 >= rows, `${rows} bits`);
    return Array.from({ length: rows }, (_, i) => (((bits[i >> 3] as number) >> (i & 7)) & 1) === 1);
  }
  const values = data.values as Int32Array | Float64Array | Float32Array | BigInt64Array;
  check(name, values.length >= rows, `${rows} values`);
  return values.subarray(0, rows);
}

/** The column of all batches: the only batch's own array, or a copy of all. */
export function concatColumns(parts: Column[]): Column {
  const first = parts[0] as Column;
  if (parts.length === 1) return first;
  if (Array.isArray(first)) return (parts as unknown[][]).flat(1) as Column;
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const joined = new (first.constructor as new (n: number) => Int32Array)(total);
  let at = 0;
  for (const part of parts as Int32Array[]) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Bytes of many strings, one after another, with Arrow's `n + 1` offsets.
 *
 * @throws SoftflowError `TABLE_TOO_LARGE` when `maxBytes` might be exceeded: three bytes for each UTF-16 unit of a text
 */
export function encodeStrings(
  field: Field,
  values: readonly string[],
  maxBytes = MAX_INT32,
): { bytes: Uint8Array; offsets: Int32Array } {
  const offsets = new Int32Array(values.length + 1);
  let bytes = new Uint8Array(Math.max(64, values.length * 16));
  let used = 0;
  for (let i = 0; i < values.length; i++) {
    const text = values[i];
    if (typeof text !== 'string') throw invalid(field, i, 'text', text);
    // UTF-8 needs at most three bytes for a UTF-16 unit.
    const needed = used + text.length * 3;
    if (needed > maxBytes)
      throw new SoftflowError(
        'TABLE_TOO_LARGE',
        `Column ${field.name} exceeds ${maxBytes} bytes of text; bring fewer rows`,
      );
    if (needed > bytes.length) {
      const larger = new Uint8Array(Math.max(needed, bytes.length * 2));
      larger.set(bytes.subarray(0, used));
      bytes = larger;
    }
    used += encoder.encodeInto(text, bytes.subarray(used)).written;
    offsets[i + 1] = used;
  }
  return { bytes: bytes.slice(0, used), offsets };
}

function encodeList(field: Field, values: readonly (readonly number[])[]): Data {
  const offsets = new Int32Array(values.length + 1);
  for (let i = 0; i < values.length; i++) {
    const list = values[i];
    if (!Array.isArray(list)) throw invalid(field, i, 'a list', list);
    offsets[i + 1] = (offsets[i] as number) + list.length;
  }
  const child = encodeColumn(field.type.children[0] as Field, values.flat(1));
  return makeData({ type: field.type, length: values.length, nullCount: 0, valueOffsets: offsets, child });
}

function toInt32(field: Field, values: readonly number[] | Int32Array): Int32Array {
  if (values instanceof Int32Array) return values;
  const result = Int32Array.from(values);
  for (let i = 0; i < result.length; i++)
    if (result[i] !== values[i]) throw invalid(field, i, 'a 32-bit integer', values[i]);
  return result;
}

function toInt64(values: readonly bigint[] | BigInt64Array): BigInt64Array {
  return values instanceof BigInt64Array ? values : BigInt64Array.from(values);
}

function toFloat(field: Field, values: ColumnInput): Float64Array | Float32Array {
  const single = DataType.isFloat(field.type) && field.type.precision === 1;
  if (single ? values instanceof Float32Array : values instanceof Float64Array)
    return values as Float32Array | Float64Array;
  const numbers = values as readonly number[];
  for (let i = 0; i < numbers.length; i++)
    if (typeof numbers[i] !== 'number') throw invalid(field, i, 'a number', numbers[i]);
  return single ? Float32Array.from(numbers) : Float64Array.from(numbers);
}

function toBits(values: ColumnInput): Uint8Array {
  const bits = new Uint8Array(Math.ceil(values.length / 8));
  for (let i = 0; i < values.length; i++) if (values[i]) bits[i >> 3] = (bits[i >> 3] as number) | (1 << (i & 7));
  return bits;
}

function decodeStrings(name: string, data: Data, rows: number): string[] {
  const bytes = (data.values ?? new Uint8Array(0)) as Uint8Array;
  const offsets = checkedOffsets(name, data, rows, bytes.length);
  try {
    return Array.from({ length: rows }, (_, i) => decoder.decode(bytes.subarray(offsets[i], offsets[i + 1])));
  } catch (cause) {
    throw new SoftflowError('TABLE_DAMAGED', `Column ${name}: expected UTF-8 text, found other bytes`, { cause });
  }
}

function decodeList(name: string, data: Data, rows: number): number[][] | string[][] {
  const child = data.children[0] as Data;
  const offsets = checkedOffsets(name, data, rows, child.length);
  const values = decodeColumn(name, child, child.length) as number[] | Int32Array | Float64Array;
  return Array.from({ length: rows }, (_, i) => Array.from(values.slice(offsets[i], offsets[i + 1])));
}

/** Offsets that start at 0 or later, never fall, and end inside the values. */
function checkedOffsets(name: string, data: Data, rows: number, available: number): Int32Array {
  const offsets = data.valueOffsets as Int32Array;
  // A column of no rows may come without any offset.
  if (rows === 0) return new Int32Array(1);
  check(name, offsets.length > rows && (offsets[0] as number) >= 0, `${rows + 1} offsets`);
  for (let i = 0; i < rows; i++)
    check(name, (offsets[i] as number) <= (offsets[i + 1] as number), 'offsets that never fall');
  check(name, (offsets[rows] as number) <= available, `offsets up to ${available}`);
  return offsets;
}

function check(name: string, holds: boolean, expected: string): void {
  if (!holds)
    throw new SoftflowError(
      'TABLE_DAMAGED',
      `Column ${name}: expected ${expected}; the table is damaged, run the step that made it again`,
    );
}

function invalid(field: Field, row: number, expected: string, received: unknown): SoftflowError {
  return new SoftflowError(
    'TABLE_INVALID',
    `Expected ${expected} in column ${field.name}, row ${row}; got ${received}`,
  );
}
