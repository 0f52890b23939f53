import { SoftflowError } from '../errors.ts';
import { bfloat16BytesToFloat32, copyBuffer, halfBytesToFloat32 } from './float-formats.ts';
import { type ByteSource, bytesSource, fileSource } from './ranged-file.ts';
import { parseStrictJson, type StrictJson, StrictJsonError } from './strict-json.ts';

/** Bytes of one element of each element type of the format. */
const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** What a header may hold before the file is refused. */
export interface SafetensorsLimits {
  /** Bytes of JSON. Default 16 MiB. */
  headerBytes: number;
  /** Default 65,536. */
  tensors: number;
  /** Dimensions of one tensor. Default 8. */
  dims: number;
  /** UTF-8 bytes of a tensor's name. Default 512. */
  nameBytes: number;
}

export const SAFETENSORS_LIMITS: SafetensorsLimits = {
  headerBytes: 16 * 2 ** 20,
  tensors: 65_536,
  dims: 8,
  nameBytes: 512,
};

/** One tensor of an open file; its values are read when asked for. */
export interface SafetensorsTensor {
  readonly dtype: SafetensorsDtype;
  readonly shape: number[];
  /** The values as float32. Throws `MODEL_UNSUPPORTED` for element types that no model here uses. */
  read(): Promise<Float32Array>;
  /** The raw little-endian bytes. */
  bytes(): Promise<Uint8Array>;
}

export interface SafetensorsFile {
  /** In the order of their bytes in the file. */
  readonly names: string[];
  readonly tensors: Map<string, SafetensorsTensor>;
  readonly metadata: Map<string, string>;
}

/** Where a tensor's bytes are, counted from the end of the header. */
interface Entry {
  name: string;
  dtype: SafetensorsDtype;
  shape: number[];
  begin: number;
  end: number;
}

/**
 * Opens a safetensors file and checks its whole header; tensor bytes are read later, in ranges.
 * Throws `MODEL_FILE_DAMAGED` for anything but a well-formed file within the limits, `MODEL_FILE_MISSING`.
 */
export async function openSafetensors(path: string, limits = SAFETENSORS_LIMITS): Promise<SafetensorsFile> {
  return readSafetensors(await fileSource(path), limits);
}

/** {@link openSafetensors} over any source of bytes. */
export async function readSafetensors(source: ByteSource, limits = SAFETENSORS_LIMITS): Promise<SafetensorsFile> {
  const { entries, metadata, dataStart } = await readHeader(source, limits);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const bytes = () => source.read(dataStart + begin, end - begin);
    tensors.set(name, { dtype, shape, bytes, read: async () => toFloat32(await bytes(), dtype, name, source.name) });
  }
  return { names: entries.map((entry) => entry.name), tensors, metadata };
}

async function readHeader(source: ByteSource, limits: SafetensorsLimits) {
  const fail = failure(source.name);
  if (source.size < 8) throw fail('the file is too short for a header', 'at least 8 bytes', `${source.size}`);
  const prefix = await source.read(0, 8);
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > limits.headerBytes) throw fail('header length', `at most ${limits.headerBytes} bytes`, `${length}`);
  const dataStart = 8 + Number(length);
  if (dataStart > source.size) throw fail('header length', `at most ${source.size - 8} bytes`, `${length}`);
  const header = parseHeader(await source.read(8, Number(length)), fail);
  const metadata = readMetadata(header.get('__metadata__'), fail);
  header.delete('__metadata__');
  if (header.size > limits.tensors) throw fail('number of tensors', `at most ${limits.tensors}`, `${header.size}`);
  const entries = [...header].map(([name, value]) => readEntry(name, value, limits, fail));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(entries, source.size - dataStart, fail);
  return { entries, metadata, dataStart };
}

type Fail = (what: string, expected: string, received: string) => SoftflowError;

function failure(file: string): Fail {
  return (what, expected, received) =>
    new SoftflowError(
      'MODEL_FILE_DAMAGED',
      `${file} is not a valid safetensors file: ${what}. Expected: ${expected}. Received: ${received}. Fetch or write the file again.`,
      { details: { file, expected, received } },
    );
}

function parseHeader(bytes: Uint8Array, fail: Fail): Map<string, StrictJson> {
  if (bytes[0] !== 0x7b) throw fail('header', "JSON that begins with '{'", `byte ${bytes[0] ?? 'none'}`);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return parseStrictJson(text, { depth: 4 }) as Map<string, StrictJson>;
  } catch (cause) {
    if (cause instanceof StrictJsonError) throw fail('header', 'JSON with each name once', cause.message);
    throw fail('header', 'UTF-8 text', 'bytes that are not UTF-8');
  }
}

function readMetadata(value: StrictJson | undefined, fail: Fail): Map<string, string> {
  if (value === undefined) return new Map();
  if (!(value instanceof Map)) throw fail('__metadata__', 'an object of texts', kind(value));
  const metadata = new Map<string, string>();
  for (const [key, text] of value) {
    if (typeof text !== 'string') throw fail(`__metadata__ ${quote(key)}`, 'a text', kind(text));
    metadata.set(key, text);
  }
  return metadata;
}

const ENTRY_KEYS = ['dtype', 'shape', 'data_offsets'];

function readEntry(name: string, value: StrictJson, limits: SafetensorsLimits, fail: Fail): Entry {
  const what = `tensor ${quote(name)}`;
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes > limits.nameBytes) throw fail(`${what} name`, `at most ${limits.nameBytes} bytes`, `${nameBytes}`);
  if (!(value instanceof Map)) throw fail(what, 'an object', kind(value));
  const extra = [...value.keys()].find((key) => !ENTRY_KEYS.includes(key));
  if (extra !== undefined) throw fail(what, ENTRY_KEYS.join(', '), quote(extra));
  const dtype = value.get('dtype');
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw fail(`${what} dtype`, Object.keys(DTYPE_BYTES).join(', '), kind(dtype));
  }
  const shape = naturals(value.get('shape'), `${what} shape`, fail);
  if (shape.length > limits.dims) throw fail(`${what} shape`, `at most ${limits.dims} dimensions`, `${shape.length}`);
  const [begin, end, ...rest] = naturals(value.get('data_offsets'), `${what} data_offsets`, fail);
  if (begin === undefined || end === undefined || rest.length > 0 || begin > end) {
    throw fail(`${what} data_offsets`, '[begin, end] with begin <= end', kind(value.get('data_offsets')));
  }
  const bytes = byteLength(shape, DTYPE_BYTES[dtype as SafetensorsDtype]);
  if (bytes === undefined) throw fail(`${what} shape`, 'at most 2^53 bytes', `[${shape}]`);
  if (bytes !== end - begin) throw fail(what, `${bytes} bytes for ${dtype} [${shape}]`, `${end - begin} bytes`);
  return { name, dtype: dtype as SafetensorsDtype, shape, begin, end };
}

function naturals(value: StrictJson | undefined, what: string, fail: Fail): number[] {
  if (!Array.isArray(value)) throw fail(what, 'a list of whole numbers', kind(value));
  for (const number of value) {
    if (!Number.isSafeInteger(number) || (number as number) < 0 || Object.is(number, -0)) {
      throw fail(what, 'whole numbers from 0 to 2^53', kind(number));
    }
  }
  return value as number[];
}

/** Bytes of a tensor, or undefined beyond 2^53. A zero dimension does not excuse the others. */
function byteLength(shape: number[], elementBytes: number): number | undefined {
  let bytes = elementBytes;
  for (const dim of shape) {
    bytes *= dim;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

function checkLayout(entries: Entry[], dataBytes: number, fail: Fail): void {
  let position = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== position) {
      throw fail(`tensor ${quote(name)} leaves a hole or overlaps`, `offset ${position}`, `offset ${begin}`);
    }
    position = end;
  }
  if (position !== dataBytes) throw fail('bytes of data', `${position}`, `${dataBytes}`);
}

function kind(value: StrictJson | undefined): string {
  if (value === undefined) return 'nothing';
  if (value instanceof Map) return 'an object';
  return quote(Array.isArray(value) ? `[${value.slice(0, 9).map(kind)}]` : value);
}

function quote(value: StrictJson): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function toFloat32(bytes: Uint8Array, dtype: SafetensorsDtype, name: string, file: string): Float32Array {
  switch (dtype) {
    case 'F16':
      return halfBytesToFloat32(bytes);
    case 'BF16':
      return bfloat16BytesToFloat32(bytes);
    case 'F32':
      return new Float32Array(copyBuffer(bytes));
    case 'F64':
    case 'I32':
    case 'U8':
      return Float32Array.from(toTypedArray(bytes, dtype) as Float64Array);
    case 'I64':
      return Float32Array.from(new BigInt64Array(copyBuffer(bytes)), Number);
    default:
      throw new SoftflowError(
        'MODEL_UNSUPPORTED',
        `${file}: tensor ${quote(name)} is ${dtype}. Supported: F32, F16, BF16, F64, I64, I32, U8. Convert the file.`,
        { details: { file, tensor: name, dtype } },
      );
  }
}

/** Values as they are stored; 16-bit and 8-bit floats stay bit patterns. */
export type SafetensorsData =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Uint16Array
  | Int16Array
  | Uint8Array
  | Int8Array;

export interface SafetensorsValue<Data extends SafetensorsData = SafetensorsData> {
  dtype: SafetensorsDtype;
  shape: number[];
  data: Data;
}

const ARRAYS = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  F8_E5M2: Uint8Array,
  F8_E4M3: Uint8Array,
  U16: Uint16Array,
  I16: Int16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  U32: Uint32Array,
  I32: Int32Array,
  F32: Float32Array,
  U64: BigUint64Array,
  I64: BigInt64Array,
  F64: Float64Array,
} as const;

function toTypedArray(bytes: Uint8Array, dtype: SafetensorsDtype): SafetensorsData {
  return new ARRAYS[dtype](copyBuffer(bytes));
}

/** Reads a whole safetensors file from memory. Throws as {@link openSafetensors} does. */
export async function decodeSafetensors(
  bytes: Uint8Array,
  name = 'safetensors bytes',
  limits = SAFETENSORS_LIMITS,
): Promise<{ tensors: Map<string, SafetensorsValue>; metadata: Map<string, string> }> {
  const source = bytesSource(bytes, name);
  const { entries, metadata, dataStart } = await readHeader(source, limits);
  const tensors = new Map<string, SafetensorsValue>();
  for (const { name: tensor, dtype, shape, begin, end } of entries) {
    const data = toTypedArray(bytes.subarray(dataStart + begin, dataStart + end), dtype);
    tensors.set(tensor, { dtype, shape, data });
  }
  return { tensors, metadata };
}

/**
 * Writes a safetensors file. The same tensors and metadata give the same bytes, whatever the order of their keys:
 * tensors lie by element size (largest first, so that each is aligned) and then by name.
 * Throws `MODEL_FILE_DAMAGED` when a tensor's data does not fit its shape or dtype.
 */
export function encodeSafetensors(
  tensors: Record<string, SafetensorsValue> | Map<string, SafetensorsValue>,
  metadata: Record<string, string> = {},
): Uint8Array {
  const named = tensors instanceof Map ? [...tensors] : Object.entries(tensors);
  for (const [name, value] of named) checkValue(name, value);
  named.sort(([a, x], [b, y]) => DTYPE_BYTES[y.dtype] - DTYPE_BYTES[x.dtype] || compare(a, b));
  const header = encodeSafetensorsHeader(
    named.map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    metadata,
  );
  const out = new Uint8Array(named.reduce((sum, [, { data }]) => sum + data.byteLength, header.length));
  out.set(header);
  let at = header.length;
  for (const [, { data }] of named) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

/**
 * The beginning of a safetensors file, up to the first byte of the first tensor; the tensors follow in this order without
 * a gap. For a file that is written tensor by tensor.
 */
export function encodeSafetensorsHeader(
  tensors: readonly { name: string; dtype: SafetensorsDtype; shape: readonly number[] }[],
  metadata: Record<string, string> = {},
): Uint8Array {
  const parts: string[] = [];
  const keys = Object.keys(metadata).sort(compare);
  if (keys.length > 0) {
    parts.push(`"__metadata__":{${keys.map((k) => `${JSON.stringify(k)}:${JSON.stringify(metadata[k])}`)}}`);
  }
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + (byteLength([...shape], DTYPE_BYTES[dtype]) ?? 0);
    parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${position},${end}]}`);
    position = end;
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`);
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  return header;
}

function checkValue(name: string, { dtype, shape, data }: SafetensorsValue): void {
  const fail = failure('the file to write');
  if (name === '__metadata__') throw fail('tensor name', 'another name than __metadata__', name);
  const expected = byteLength(shape, DTYPE_BYTES[dtype]);
  if (expected !== data.byteLength || !(data instanceof ARRAYS[dtype])) {
    throw fail(
      `tensor ${quote(name)}`,
      `${expected} bytes of ${ARRAYS[dtype].name} for ${dtype} [${shape}]`,
      `${data.byteLength} bytes of ${data.constructor.name}`,
    );
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
