import { SoftflowError } from '../errors.ts';
import { FlatBuffer, type FlatTable } from './flat-buffer.ts';

/** What a table may hold before it is refused. */
export const ARROW_LIMITS = {
  /** Columns, children of lists included. */
  fields: 4096,
  /** Lists inside lists. */
  depth: 8,
  /** UTF-8 bytes of a column's name. */
  nameBytes: 512,
  /** Record batches. */
  batches: 65_536,
};

const MAGIC = 'ARROW1';
const CONTINUATION = -1;
const METADATA_V5 = 4;
const RECORD_BATCH = 3;
const BLOCK_BYTES = 24;
const PAIR_BYTES = 16;
/** No column has more than three buffers. */
const MAX_PAIRS = 3 * ARROW_LIMITS.fields;

// Numbers of the union `Type` in Arrow's Schema.fbs.
const INT = 2;
const FLOAT = 3;
const UTF8 = 5;
const BOOL = 6;
const LIST = 12;
const FIXED_SIZE_LIST = 16;

/** How a type lies in memory: bits of a row's value, offsets before the values, bytes that the offsets point to. */
interface Layout {
  bits?: number;
  offsets?: boolean;
  bytes?: boolean;
  /** Values of each row, which lie in the child. */
  listSize?: number;
}

interface ColumnLayout extends Layout {
  name: string;
  children: ColumnLayout[];
}

/**
 * Checks an Arrow IPC file before Arrow's own reader, which trusts what it reads, touches it: magic, every offset of the
 * footer's and the batches' FlatBuffers, the blocks, each batch's nodes against the schema, and each buffer against the batch's body and
 * the rows that it must hold. What lies inside the buffers (offsets of texts and lists) is checked where columns are decoded.
 * Source: Arrow's Schema.fbs, Message.fbs, File.fbs and Security.rst.
 *
 * @throws SoftflowError `TABLE_DAMAGED`, and `TABLE_SCHEMA` for a column of a type that softflow does not write
 */
export function checkArrowFile(bytes: Uint8Array): void {
  const { footer, root, end } = openFooter(bytes);
  const version = footer.integer(root, 0, 2);
  if (version !== METADATA_V5) throw damaged(`metadata version ${version}, expected ${METADATA_V5}`);
  const schema = footer.table(root, 1);
  if (!schema) throw damaged('a footer without a schema');
  if (footer.integer(schema, 0, 2) !== 0) throw damaged('big-endian values');
  const columns = new SchemaCheck(footer).columns(schema);
  if (footer.vector(root, 2, BLOCK_BYTES).count > 0) throw damaged('dictionaries, which softflow does not write');
  const { start, count } = footer.vector(root, 3, BLOCK_BYTES);
  if (count > ARROW_LIMITS.batches) throw damaged(`${count} record batches, expected at most ${ARROW_LIMITS.batches}`);
  for (let i = 0; i < count; i++) {
    const at = start + i * BLOCK_BYTES;
    const block = { offset: footer.naturalAt(at), metadata: footer.integerAt(at + 8), body: footer.naturalAt(at + 16) };
    checkBlock(bytes, block, end, columns);
  }
}

function openFooter(bytes: Uint8Array): { footer: FlatBuffer; root: FlatTable; end: number } {
  const text = (start: number) => String.fromCharCode(...bytes.subarray(start, start + MAGIC.length));
  if (bytes.length < 2 * MAGIC.length + 6 || text(0) !== MAGIC || text(bytes.length - MAGIC.length) !== MAGIC)
    throw damaged(`no whole Arrow IPC file (${bytes.length} bytes)`);
  const lengthAt = bytes.length - MAGIC.length - 4;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getInt32(lengthAt, true);
  const start = lengthAt - length;
  if (length <= 0 || start < 8) throw damaged(`a footer of ${length} bytes in ${bytes.length}`);
  const footer = new FlatBuffer(bytes.subarray(start, lengthAt), damaged);
  return { footer, root: footer.root(), end: start };
}

/** Walks the schema once; tables that several fields share are counted each time they are met. */
class SchemaCheck {
  readonly #buffer: FlatBuffer;
  #fields = 0;

  constructor(buffer: FlatBuffer) {
    this.#buffer = buffer;
  }

  columns(schema: FlatTable): ColumnLayout[] {
    this.#checkMetadata(schema, 2);
    return this.#children(schema, 1, 0);
  }

  #children(parent: FlatTable, field: number, depth: number): ColumnLayout[] {
    const { count } = this.#buffer.vector(parent, field, 4);
    this.#count(count);
    if (count > 0 && depth > ARROW_LIMITS.depth) throw damaged(`lists nested deeper than ${ARROW_LIMITS.depth}`);
    return this.#buffer.tables(parent, field).map((child) => this.#column(child, depth));
  }

  #column(field: FlatTable, depth: number): ColumnLayout {
    const name = this.#buffer.text(field, 0, ARROW_LIMITS.nameBytes);
    if (this.#buffer.table(field, 4)) throw otherType(name, 'a dictionary');
    this.#checkMetadata(field, 6);
    const kind = this.#buffer.integer(field, 2, 1);
    const type = this.#buffer.table(field, 3);
    if (!type) throw damaged(`column ${name} without a type`);
    const layout = this.#layoutOf(name, kind, type);
    const children = this.#children(field, 5, depth + 1);
    const expected = kind === LIST || kind === FIXED_SIZE_LIST ? 1 : 0;
    if (children.length !== expected) throw damaged(`column ${name} with ${children.length} children`);
    return { name, children, ...layout };
  }

  #layoutOf(name: string, kind: number, type: FlatTable): Layout {
    if (kind === UTF8) return { offsets: true, bytes: true };
    if (kind === LIST) return { offsets: true };
    if (kind === BOOL) return { bits: 1 };
    if (kind === INT) {
      const [bits, signed] = [this.#buffer.integer(type, 0, 4), this.#buffer.integer(type, 1, 1)];
      if ((bits === 32 || bits === 64) && signed === 1) return { bits };
      throw otherType(name, `${signed ? '' : 'un'}signed ${bits}-bit integers`);
    }
    if (kind === FLOAT) {
      const precision = this.#buffer.integer(type, 0, 2);
      if (precision === 1 || precision === 2) return { bits: 32 * precision };
      throw otherType(name, `floats of precision ${precision}`);
    }
    if (kind !== FIXED_SIZE_LIST) throw otherType(name, `Arrow's type number ${kind}`);
    const listSize = this.#buffer.integer(type, 0, 4);
    if (listSize < 1) throw damaged(`column ${name} with lists of ${listSize} values`);
    return { listSize };
  }

  /** Tables may be shared by many fields: each meeting counts, so that a small file stays little work. */
  #count(more: number): void {
    this.#fields += more;
    if (this.#fields > ARROW_LIMITS.fields) throw damaged(`more than ${ARROW_LIMITS.fields} columns`);
  }

  #checkMetadata(parent: FlatTable, field: number): void {
    this.#count(this.#buffer.vector(parent, field, 4).count);
    for (const pair of this.#buffer.tables(parent, field))
      for (const text of [0, 1]) this.#buffer.vector(pair, text, 1);
  }
}

interface Block {
  offset: number;
  metadata: number;
  body: number;
}

/** A block is a message, padded to eight bytes, and the body that it describes. */
function checkBlock(bytes: Uint8Array, { offset, metadata, body }: Block, end: number, columns: ColumnLayout[]): void {
  if (offset % 8 !== 0 || metadata % 8 !== 0 || metadata < 16 || offset + metadata + body > end)
    throw damaged(`a batch at ${offset} of ${metadata} + ${body} bytes before byte ${end}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, metadata);
  const [mark, length] = [view.getInt32(0, true), view.getInt32(4, true)];
  if (mark !== CONTINUATION || length !== metadata - 8) throw damaged(`no message of ${metadata} bytes at ${offset}`);
  const buffer = new FlatBuffer(bytes.subarray(offset + 8, offset + metadata), damaged);
  const message = buffer.root();
  const [version, kind] = [buffer.integer(message, 0, 2), buffer.integer(message, 1, 1)];
  if (version !== METADATA_V5 || kind !== RECORD_BATCH) throw damaged(`message ${kind} where a record batch should be`);
  const bodyBytes = buffer.natural(message, 3);
  if (bodyBytes !== body) throw damaged(`a body of ${bodyBytes} bytes, expected ${body}`);
  const batch = buffer.table(message, 2);
  if (!batch) throw damaged('a record batch without a header');
  new BatchCheck(buffer, batch, body).check(columns);
}

/** Takes nodes and buffers in the order of the schema, each once. */
class BatchCheck {
  readonly #rows: number;
  readonly #nodes: [number, number][];
  readonly #buffers: [number, number][];
  #end = 0;

  constructor(buffer: FlatBuffer, batch: FlatTable, body: number) {
    if (buffer.table(batch, 3)) throw damaged('a compressed batch, which softflow does not write');
    this.#rows = buffer.natural(batch, 0);
    this.#nodes = pairs(buffer, batch, 1);
    this.#buffers = pairs(buffer, batch, 2);
    for (const [offset, bytes] of this.#buffers) {
      if (offset % 8 !== 0 || offset < this.#end || offset + bytes > body)
        throw damaged(`a buffer at ${offset} of ${bytes} bytes in a body of ${body}`);
      this.#end = offset + bytes;
    }
  }

  check(columns: ColumnLayout[]): void {
    for (const column of columns) this.#column(column, this.#rows);
    if (this.#nodes.length > 0 || this.#buffers.length > 0) throw damaged('more nodes or buffers than columns');
  }

  /** @param rows how many the column must have; undefined for the child of a list, whose offsets say so later */
  #column(column: ColumnLayout, rows: number | undefined): void {
    const [length, nulls] = this.#nodes.shift() ?? [undefined, 0];
    if (length === undefined || nulls > length || (rows !== undefined && rows !== length))
      throw damaged(`column ${column.name} of ${length} values, expected ${rows ?? 'some'}`);
    this.#buffer(column, 'validity', nulls > 0 ? Math.ceil(length / 8) : 0);
    if (column.offsets) this.#buffer(column, 'offsets', length > 0 ? 4 * (length + 1) : 0);
    if (column.bits) this.#buffer(column, 'values', Math.ceil((length * column.bits) / 8));
    if (column.bytes) this.#buffer(column, 'text', 0);
    for (const child of column.children)
      this.#column(child, column.listSize === undefined ? undefined : length * column.listSize);
  }

  #buffer({ name }: ColumnLayout, what: string, needed: number): void {
    const bytes = this.#buffers.shift()?.[1];
    if (bytes === undefined || bytes < needed)
      throw damaged(`${bytes ?? 'no'} bytes of ${what} in column ${name}, expected ${needed}`);
  }
}

/** A vector of two 64-bit numbers each: nodes (length, nulls) or buffers (offset, bytes). */
function pairs(buffer: FlatBuffer, batch: FlatTable, field: number): [number, number][] {
  const { start, count } = buffer.vector(batch, field, PAIR_BYTES);
  if (count > MAX_PAIRS) throw damaged(`${count} nodes or buffers`);
  const at = (i: number) => start + i * PAIR_BYTES;
  return Array.from({ length: count }, (_, i) => [buffer.naturalAt(at(i)), buffer.naturalAt(at(i) + 8)]);
}

function otherType(name: string, received: string): SoftflowError {
  return new SoftflowError(
    'TABLE_SCHEMA',
    `Column ${name} has a type that softflow does not write.\nExpected text, signed 32- or 64-bit integers, floats, booleans or lists of these\nReceived ${received}`,
    { details: { received } },
  );
}

/** Of what the store holds, so the way out is the step that made it. */
export function damaged(found: string, cause?: unknown): SoftflowError {
  return new SoftflowError(
    'TABLE_DAMAGED',
    `Expected an Arrow IPC file, found ${found}; run the step that made it again`,
    { cause },
  );
}
