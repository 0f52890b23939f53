/** GGUF value types that tests write. */
export const GGUF = { uint8: 0, uint32: 4, float32: 6, bool: 7, string: 8, array: 9, uint64: 10 } as const;

export interface DraftEntry {
  key: string;
  type: number;
  value: DraftValue;
}

type DraftValue = number | bigint | boolean | string | { type: number; values: DraftValue[]; length?: bigint };

export interface DraftTensor {
  name: string;
  /** As the file has them: fastest dimension first. */
  dims: (number | bigint)[];
  type: number;
  data: Uint8Array;
  /** In place of the right one. */
  offset?: number;
  dimCount?: number;
}

/** A GGUF file to write; the optional fields stand in for what would be right, so that tests can damage it. */
export interface GgufDraft {
  magic?: string;
  version?: number;
  tensorCount?: bigint;
  keyCount?: bigint;
  alignment?: number;
  metadata: DraftEntry[];
  tensors: DraftTensor[];
}

/** Writes a GGUF file, or what a {@link GgufDraft} makes of one. */
export function encodeGguf(draft: GgufDraft): Uint8Array {
  const alignment = draft.alignment ?? 32;
  const out = new Writer();
  out.bytes(Buffer.from(draft.magic ?? 'GGUF', 'latin1'));
  out.uint32(draft.version ?? 3);
  out.uint64(draft.tensorCount ?? BigInt(draft.tensors.length));
  out.uint64(draft.keyCount ?? BigInt(draft.metadata.length));
  for (const { key, type, value } of draft.metadata) {
    out.string(key);
    out.uint32(type);
    out.value(type, value);
  }
  let offset = 0;
  for (const tensor of draft.tensors) {
    out.string(tensor.name);
    out.uint32(tensor.dimCount ?? tensor.dims.length);
    for (const dim of tensor.dims) out.uint64(BigInt(dim));
    out.uint32(tensor.type);
    out.uint64(BigInt(tensor.offset ?? offset));
    offset = pad(offset + tensor.data.length, alignment);
  }
  out.padTo(alignment);
  for (const { data } of draft.tensors) {
    out.bytes(data);
    out.padTo(alignment);
  }
  return out.finish();
}

/** A float32 tensor for a draft; `shape` has the slowest dimension first. */
export function float32Tensor(name: string, shape: number[], data: Float32Array): DraftTensor {
  return {
    name,
    dims: [...shape].reverse(),
    type: 0,
    data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}

/** Metadata entries of plain values, typed by what they are. */
export function entries(values: Record<string, number | string | boolean | string[] | number[]>): DraftEntry[] {
  return Object.entries(values).map(([key, value]) => {
    if (Array.isArray(value)) {
      const type = typeof value[0] === 'string' ? GGUF.string : GGUF.uint32;
      return { key, type: GGUF.array, value: { type, values: value } };
    }
    if (typeof value === 'string') return { key, type: GGUF.string, value };
    if (typeof value === 'boolean') return { key, type: GGUF.bool, value };
    return { key, type: Number.isInteger(value) ? GGUF.uint32 : GGUF.float32, value };
  });
}

function pad(position: number, alignment: number): number {
  return Math.ceil(position / alignment) * alignment;
}

class Writer {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  bytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#length += bytes.length;
  }

  uint32(value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.bytes(bytes);
  }

  uint64(value: bigint): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    this.bytes(bytes);
  }

  string(text: string): void {
    const bytes = Buffer.from(text);
    this.uint64(BigInt(bytes.length));
    this.bytes(bytes);
  }

  value(type: number, value: DraftValue): void {
    if (typeof value === 'object') {
      this.uint32(value.type);
      this.uint64(value.length ?? BigInt(value.values.length));
      for (const item of value.values) this.value(value.type, item);
    } else if (typeof value === 'string') this.string(value);
    else if (type === GGUF.uint64) this.uint64(BigInt(value));
    else if (type === GGUF.bool || type === GGUF.uint8) this.bytes(Uint8Array.of(Number(value)));
    else if (type === GGUF.float32) this.bytes(new Uint8Array(Float32Array.of(Number(value)).buffer));
    else this.uint32(Number(value));
  }

  padTo(alignment: number): void {
    this.bytes(new Uint8Array(pad(this.#length, alignment) - this.#length));
  }

  finish(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}
