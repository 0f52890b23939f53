import { SoftflowError } from '../errors.ts';
import { GGML_TYPES, type GgmlType, OTHER_GGML_TYPES } from './gguf-quants.ts';
import { type ByteSource, fileSource } from './ranged-file.ts';

/** A metadata value. 64-bit integers beyond 2^53 stay bigints. */
export type GgufScalar = number | bigint | boolean | string;
export type GgufValue = GgufScalar | GgufScalar[];
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** One tensor of an open file; its values are read when asked for. */
export interface GgufTensor {
  /** GGML type name, for example `Q4_1`. */
  readonly type: string;
  /** Slowest dimension first, as in safetensors; the file has it the other way round. */
  readonly shape: number[];
  /** The values as float32, dequantised. */
  read(): Promise<Float32Array>;
}

export interface GgufFile {
  readonly version: number;
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** What a header may hold before the file is refused. */
export interface GgufLimits {
  /** Bytes before the tensor data, vocabulary included. Default 16 MiB. */
  headerBytes: number;
  /** Default 65,536. */
  tensors: number;
  /** Metadata entries. Default 65,536. */
  keys: number;
  /** UTF-8 bytes of a metadata key. Default 512. */
  keyBytes: number;
  /** Values of one metadata array. Default 4 Mi; the largest vocabularies have 0.3 Mi tokens. */
  arrayLength: number;
}

export const GGUF_LIMITS: GgufLimits = {
  headerBytes: 16 * 2 ** 20,
  tensors: 65_536,
  keys: 65_536,
  keyBytes: 512,
  arrayLength: 4 * 2 ** 20,
};

// ggml's own bounds: GGML_MAX_DIMS, and GGML_MAX_NAME less its closing zero.
const MAX_DIMS = 4;
const MAX_NAME_BYTES = 63;
const DEFAULT_ALIGNMENT = 32;

/**
 * Opens a GGUF file (version 2 or 3, little-endian) and checks its whole header; tensor bytes are read later.
 * Throws `MODEL_FILE_DAMAGED` for anything but a well-formed file within the limits, `MODEL_UNSUPPORTED` for tensor
 * types that are not read here, `MODEL_FILE_MISSING`.
 */
export async function openGguf(path: string, limits = GGUF_LIMITS): Promise<GgufFile> {
  return readGguf(await fileSource(path), limits);
}

/** {@link openGguf} over any source of bytes. */
export async function readGguf(source: ByteSource, limits = GGUF_LIMITS): Promise<GgufFile> {
  const head = await source.read(0, Math.min(source.size, limits.headerBytes));
  const reader = new HeaderReader(head, source.name, source.size, limits.arrayLength);
  const version = readVersion(reader);
  const tensorCount = reader.count('number of tensors', limits.tensors);
  const keyCount = reader.count('number of metadata entries', limits.keys);
  const metadata = readMetadata(reader, keyCount, limits);
  const alignment = readAlignment(reader, metadata);
  const entries = readEntries(reader, tensorCount);
  const dataStart = pad(reader.position, alignment);
  checkLayout(reader, entries, alignment, dataStart);
  const tensors = new Map<string, GgufTensor>();
  for (const { name, type, shape, offset, bytes } of entries) {
    const read = async () => type.decode(await source.read(dataStart + offset, bytes));
    tensors.set(name, { type: type.name, shape, read });
  }
  return { version, metadata, tensors };
}

interface Entry {
  name: string;
  type: GgmlType;
  shape: number[];
  offset: number;
  bytes: number;
}

function readVersion(reader: HeaderReader): number {
  const magic = reader.uint32();
  if (magic !== 0x46554747) throw reader.fail('magic', "'GGUF'", `0x${magic.toString(16).padStart(8, '0')}`);
  const version = reader.uint32();
  if (version === 2 || version === 3) return version;
  const bigEndian = version !== 0 && (version & 0xffff) === 0;
  throw reader.fail('version', '2 or 3', bigEndian ? 'a big-endian file' : `${version}`);
}

function readMetadata(reader: HeaderReader, count: number, limits: GgufLimits): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = reader.string(`key of metadata entry ${i}`, limits.keyBytes);
    if (key === '') throw reader.fail(`key of metadata entry ${i}`, 'a name', 'an empty text');
    if (metadata.has(key)) throw reader.fail('metadata key', 'each key once', quote(key));
    metadata.set(key, reader.value(key));
  }
  return metadata;
}

function readAlignment(reader: HeaderReader, metadata: GgufMetadata): number {
  const alignment = metadata.get('general.alignment');
  if (alignment === undefined) return DEFAULT_ALIGNMENT;
  const valid = typeof alignment === 'number' && alignment > 0 && Number.isInteger(Math.log2(alignment));
  if (!valid || reader.alignmentType !== VALUE_UINT32) {
    throw reader.fail('general.alignment', 'a power of two, as uint32', `${alignment} (type ${reader.alignmentType})`);
  }
  return alignment;
}

function readEntries(reader: HeaderReader, count: number): Entry[] {
  const names = new Set<string>();
  const entries: Entry[] = [];
  for (let i = 0; i < count; i++) {
    const entry = readEntry(reader, i);
    if (names.has(entry.name)) throw reader.fail('tensor name', 'each name once', quote(entry.name));
    names.add(entry.name);
    entries.push(entry);
  }
  return entries;
}

function readEntry(reader: HeaderReader, index: number): Entry {
  const name = reader.string(`name of tensor ${index}`, MAX_NAME_BYTES);
  const what = `tensor ${quote(name)}`;
  const dims = reader.uint32();
  if (dims > MAX_DIMS) throw reader.fail(`${what} dimensions`, `at most ${MAX_DIMS}`, `${dims}`);
  const shape: number[] = [];
  for (let d = 0; d < dims; d++) shape.unshift(reader.natural(`${what} dimension ${d}`));
  const type = readType(reader, what);
  const offset = reader.natural(`${what} offset`);
  const values = product(shape);
  const rowLength = shape.at(-1) ?? 1;
  if (values === undefined) throw reader.fail(`${what} shape`, 'at most 2^53 values', `[${shape}]`);
  if (rowLength % type.blockSize !== 0) {
    throw reader.fail(`${what} row length`, `a multiple of ${type.blockSize} for ${type.name}`, `${rowLength}`);
  }
  const bytes = (values / type.blockSize) * type.blockBytes;
  if (!Number.isSafeInteger(bytes)) throw reader.fail(`${what} shape`, 'at most 2^53 bytes', `[${shape}]`);
  return { name, type, shape, offset, bytes };
}

function readType(reader: HeaderReader, what: string): GgmlType {
  const number = reader.uint32();
  const type = GGML_TYPES.get(number);
  if (type) return type;
  const supported = [...GGML_TYPES.values()].map((known) => known.name).join(', ');
  const name = OTHER_GGML_TYPES.get(number);
  if (name === undefined) throw reader.fail(`${what} type`, supported, `type number ${number}`);
  throw new SoftflowError(
    'MODEL_UNSUPPORTED',
    `${reader.file}: ${what} is ${name}. Supported: ${supported}. Choose another quantisation of the model.`,
    { details: { file: reader.file, type: name } },
  );
}

/** Tensors must follow one another in file order, each padded to the alignment, and lie inside the file. */
function checkLayout(reader: HeaderReader, entries: Entry[], alignment: number, dataStart: number): void {
  let position = 0;
  let end = 0;
  for (const { name, offset, bytes } of entries) {
    if (offset !== position) throw reader.fail(`tensor ${quote(name)} offset`, `${position}`, `${offset}`);
    end = position + bytes;
    position = pad(end, alignment);
    if (!Number.isSafeInteger(position)) throw reader.fail('tensor data', 'at most 2^53 bytes', `${position}`);
  }
  if (dataStart + end > reader.fileSize && entries.length > 0) {
    throw reader.fail('the tensor data is cut off', `${dataStart + end} bytes`, `${reader.fileSize}`);
  }
}

function product(shape: number[]): number | undefined {
  let values = 1;
  for (const dim of shape) {
    values *= dim;
    if (!Number.isSafeInteger(values)) return undefined;
  }
  return values;
}

function pad(position: number, alignment: number): number {
  return Math.ceil(position / alignment) * alignment;
}

function quote(text: string): string {
  return JSON.stringify(text);
}

const VALUE_UINT32 = 4;
const VALUE_STRING = 8;
const VALUE_ARRAY = 9;
/** Bytes of one value of each scalar type, by its number in the file. */
const SCALAR_BYTES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/** Reads forward through the header; every length is checked against the bytes that are left before it is used. */
class HeaderReader {
  readonly file: string;
  readonly fileSize: number;
  position = 0;
  alignmentType: number | undefined;
  readonly #arrayLimit: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(bytes: Uint8Array, file: string, fileSize: number, arrayLimit: number) {
    this.#arrayLimit = arrayLimit;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.file = file;
    this.fileSize = fileSize;
  }

  fail(what: string, expected: string, received: string): SoftflowError {
    return new SoftflowError(
      'MODEL_FILE_DAMAGED',
      `${this.file} is not a valid GGUF file: ${what}. Expected: ${expected}. Received: ${received}. Fetch the file again.`,
      { details: { file: this.file, expected, received } },
    );
  }

  uint32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  /** An unsigned 64-bit integer up to 2^53. */
  natural(what: string): number {
    const value = this.#view.getBigUint64(this.#advance(8), true);
    if (value > Number.MAX_SAFE_INTEGER) throw this.fail(what, 'at most 2^53', `${value}`);
    return Number(value);
  }

  count(what: string, limit: number): number {
    const count = this.natural(what);
    if (count > limit) throw this.fail(what, `at most ${limit}`, `${count}`);
    return count;
  }

  string(what: string, limit = this.#bytes.length): string {
    const length = this.natural(`length of ${what}`);
    if (length > limit) throw this.fail(`length of ${what}`, `at most ${limit} bytes`, `${length}`);
    const start = this.#advance(length);
    try {
      return this.#decoder.decode(this.#bytes.subarray(start, start + length));
    } catch {
      throw this.fail(what, 'UTF-8 text', 'bytes that are not UTF-8');
    }
  }

  value(key: string): GgufValue {
    const type = this.uint32();
    if (key === 'general.alignment') this.alignmentType = type;
    return type === VALUE_ARRAY ? this.#array(key) : this.#scalar(type, key);
  }

  #array(key: string): GgufScalar[] {
    const type = this.uint32();
    const bytes = type === VALUE_STRING ? 8 : SCALAR_BYTES[type];
    if (bytes === undefined) throw this.fail(`type of the values of ${quote(key)}`, 'a scalar or a text', `${type}`);
    const length = this.count(`length of ${quote(key)}`, this.#arrayLimit);
    const left = this.#bytes.length - this.position;
    if (length > left / bytes) throw this.#beyondEnd(this.position + length * bytes);
    const values: GgufScalar[] = [];
    for (let i = 0; i < length; i++) values.push(this.#scalar(type, key));
    return values;
  }

  #scalar(type: number, key: string): GgufScalar {
    if (type === VALUE_STRING) return this.string(`value of ${quote(key)}`);
    const bytes = SCALAR_BYTES[type];
    if (bytes === undefined) throw this.fail(`type of ${quote(key)}`, '0 to 12', `${type}`);
    const at = this.#advance(bytes);
    switch (type) {
      case 0:
        return this.#view.getUint8(at);
      case 1:
        return this.#view.getInt8(at);
      case 2:
        return this.#view.getUint16(at, true);
      case 3:
        return this.#view.getInt16(at, true);
      case 4:
        return this.#view.getUint32(at, true);
      case 5:
        return this.#view.getInt32(at, true);
      case 6:
        return this.#view.getFloat32(at, true);
      case 7:
        return this.#boolean(at, key);
      case 10:
        return shrink(this.#view.getBigUint64(at, true));
      case 11:
        return shrink(this.#view.getBigInt64(at, true));
      default:
        return this.#view.getFloat64(at, true);
    }
  }

  #boolean(at: number, key: string): boolean {
    const byte = this.#view.getUint8(at);
    if (byte > 1) throw this.fail(`value of ${quote(key)}`, '0 or 1', `${byte}`);
    return byte === 1;
  }

  #advance(bytes: number): number {
    const start = this.position;
    if (bytes > this.#bytes.length - start) throw this.#beyondEnd(start + bytes);
    this.position += bytes;
    return start;
  }

  #beyondEnd(end: number): SoftflowError {
    const whole = this.#bytes.length === this.fileSize;
    const what = whole ? 'the header is cut off' : 'the header is too long';
    return this.fail(
      what,
      whole ? `at least ${end} bytes` : `at most ${this.#bytes.length} bytes`,
      `${whole ? this.fileSize : end}`,
    );
  }
}

function shrink(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
