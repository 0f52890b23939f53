const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A table of a FlatBuffer whose own bytes and whose vtable were found inside the buffer. */
export interface FlatTable {
  at: number;
  bytes: number;
  vtable: number;
  vtableBytes: number;
}

/** A vector of a FlatBuffer: `count` elements from `start` on. */
export interface FlatVector {
  start: number;
  count: number;
}

/**
 * Reads a FlatBuffer of unknown origin: every offset and length is checked against the buffer before it is followed, which
 * the code that FlatBuffers generates for JavaScript does not do.
 * Source: the FlatBuffers internals, "FlatBuffer wire format"; little-endian.
 */
export class FlatBuffer {
  readonly #view: DataView;
  readonly #fail: (found: string) => Error;

  /** @param fail makes the error for a place that lies outside the buffer */
  constructor(bytes: Uint8Array, fail: (found: string) => Error) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fail = fail;
  }

  root(): FlatTable {
    return this.#table(this.#follow(0));
  }

  /** The table that a field points to; undefined when the field is absent. */
  table(parent: FlatTable, field: number): FlatTable | undefined {
    const at = this.#field(parent, field, 4);
    return at === undefined ? undefined : this.#table(this.#follow(at));
  }

  /** The tables of a vector of tables; none when the field is absent. */
  tables(parent: FlatTable, field: number): FlatTable[] {
    const { start, count } = this.vector(parent, field, 4);
    return Array.from({ length: count }, (_, i) => this.#table(this.#follow(start + 4 * i)));
  }

  /** The vector that a field points to; empty when the field is absent. Text is a vector of bytes. */
  vector(parent: FlatTable, field: number, elementBytes: number): FlatVector {
    const at = this.#field(parent, field, 4);
    if (at === undefined) return { start: 0, count: 0 };
    const start = this.#follow(at);
    const count = this.#view.getUint32(start, true);
    this.#require(start + 4, count * elementBytes);
    return { start: start + 4, count };
  }

  /** The text of a field, UTF-8; empty when it is absent. */
  text(parent: FlatTable, field: number, maxBytes: number): string {
    const { start, count } = this.vector(parent, field, 1);
    if (count > maxBytes) throw this.#fail(`a name of ${count} bytes, expected at most ${maxBytes}`);
    try {
      return decoder.decode(new Uint8Array(this.#view.buffer, this.#view.byteOffset + start, count));
    } catch {
      throw this.#fail('a name that is not UTF-8');
    }
  }

  /** An integer field of 1, 2 or 4 bytes, 8 bits of it unsigned; 0 when the field is absent. */
  integer(parent: FlatTable, field: number, bytes: 1 | 2 | 4): number {
    const at = this.#field(parent, field, bytes);
    if (at === undefined) return 0;
    if (bytes === 1) return this.#view.getUint8(at);
    return bytes === 2 ? this.#view.getInt16(at, true) : this.#view.getInt32(at, true);
  }

  /** A 64-bit count or offset field; 0 when it is absent. */
  natural(parent: FlatTable, field: number): number {
    const at = this.#field(parent, field, 8);
    return at === undefined ? 0 : this.naturalAt(at);
  }

  /** A 64-bit count or offset of a struct. */
  naturalAt(at: number): number {
    this.#require(at, 8);
    const value = this.#view.getBigInt64(at, true);
    if (value < 0n || value > Number.MAX_SAFE_INTEGER) throw this.#fail(`the number ${value}, expected 0 to 2^53`);
    return Number(value);
  }

  integerAt(at: number): number {
    this.#require(at, 4);
    return this.#view.getInt32(at, true);
  }

  #table(at: number): FlatTable {
    const vtable = at - this.#view.getInt32(at, true);
    this.#require(vtable, 4);
    const vtableBytes = this.#view.getUint16(vtable, true);
    const bytes = this.#view.getUint16(vtable + 2, true);
    if (vtableBytes < 4 || vtableBytes % 2 !== 0 || bytes < 4) throw this.#fail(`a table without fields at byte ${at}`);
    this.#require(vtable, vtableBytes);
    this.#require(at, bytes);
    return { at, bytes, vtable, vtableBytes };
  }

  #field({ at, bytes, vtable, vtableBytes }: FlatTable, field: number, wanted: number): number | undefined {
    const entry = 4 + 2 * field;
    if (entry + 2 > vtableBytes) return undefined;
    const offset = this.#view.getUint16(vtable + entry, true);
    if (offset === 0) return undefined;
    if (offset < 4 || offset + wanted > bytes) throw this.#fail(`a field outside of its table at byte ${at}`);
    return at + offset;
  }

  #follow(at: number): number {
    this.#require(at, 4);
    const target = at + this.#view.getUint32(at, true);
    this.#require(target, 4);
    return target;
  }

  #require(at: number, bytes: number): void {
    if (at < 0 || at + bytes > this.#view.byteLength)
      throw this.#fail(`an offset to byte ${at + bytes} of ${this.#view.byteLength} bytes of metadata`);
  }
}
