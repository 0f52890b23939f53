import { bfloat16BytesToFloat32, copyBuffer, halfBytesToFloat32, halfToFloatTable } from './float-formats.ts';

/** How one GGML tensor type is stored: `blockSize` values in `blockBytes` bytes. */
export interface GgmlType {
  name: string;
  blockSize: number;
  blockBytes: number;
  /** Values of whole blocks as float32. */
  decode: (bytes: Uint8Array) => Float32Array;
}

/** Decodes block number `block`, whose bytes begin at `at`, into `out` at `to`. */
type BlockDecoder = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

function blocks(name: string, blockSize: number, blockBytes: number, decodeBlock: BlockDecoder): GgmlType {
  const decode = (bytes: Uint8Array) => {
    const count = bytes.length / blockBytes;
    const out = new Float32Array(count * blockSize);
    for (let block = 0; block < count; block++) decodeBlock(bytes, block * blockBytes, out, block * blockSize);
    return out;
  };
  return { name, blockSize, blockBytes, decode };
}

function half(bytes: Uint8Array, at: number): number {
  return halfToFloatTable()[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

function int8(byte: number): number {
  return (byte << 24) >> 24;
}

// The layouts below are those of ggml: 4-bit values of a block of 32 lie as (j, j + 16) in one byte.

const q4_0: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 2 + j]!;
    out[to + j] = scale * ((byte & 15) - 8);
    out[to + j + 16] = scale * ((byte >> 4) - 8);
  }
};

const q4_1: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  const minimum = half(bytes, at + 2);
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 4 + j]!;
    out[to + j] = scale * (byte & 15) + minimum;
    out[to + j + 16] = scale * (byte >> 4) + minimum;
  }
};

const q5_0: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 6 + j]!;
    out[to + j] = scale * (((byte & 15) | (fifthBit(bytes, at + 2, j) << 4)) - 16);
    out[to + j + 16] = scale * (((byte >> 4) | (fifthBit(bytes, at + 2, j + 16) << 4)) - 16);
  }
};

const q5_1: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  const minimum = half(bytes, at + 2);
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 8 + j]!;
    out[to + j] = scale * ((byte & 15) | (fifthBit(bytes, at + 4, j) << 4)) + minimum;
    out[to + j + 16] = scale * ((byte >> 4) | (fifthBit(bytes, at + 4, j + 16) << 4)) + minimum;
  }
};

function fifthBit(bytes: Uint8Array, at: number, j: number): number {
  return (bytes[at + (j >> 3)]! >> (j & 7)) & 1;
}

const q8_0: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  for (let j = 0; j < 32; j++) out[to + j] = scale * int8(bytes[at + 2 + j]!);
};

/** The 6-bit scale and minimum of sub-block `j` out of the 12 packed bytes of Q4_K and Q5_K, as scale * 64 + minimum. */
function scaleAndMinimum(bytes: Uint8Array, at: number, j: number): number {
  if (j < 4) return ((bytes[at + j]! & 63) << 6) | (bytes[at + j + 4]! & 63);
  const low = bytes[at + j + 4]!;
  const scale = (low & 15) | ((bytes[at + j - 4]! >> 6) << 4);
  const minimum = (low >> 4) | ((bytes[at + j]! >> 6) << 4);
  return (scale << 6) | minimum;
}

const q4K: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  const minimum = half(bytes, at + 2);
  for (let sub = 0; sub < 8; sub++) {
    const packed = scaleAndMinimum(bytes, at + 4, sub);
    const subScale = scale * (packed >> 6);
    const subMinimum = minimum * (packed & 63);
    const from = at + 16 + 32 * (sub >> 1);
    const shift = 4 * (sub & 1);
    for (let l = 0; l < 32; l++) out[to + 32 * sub + l] = subScale * ((bytes[from + l]! >> shift) & 15) - subMinimum;
  }
};

const q5K: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at);
  const minimum = half(bytes, at + 2);
  for (let sub = 0; sub < 8; sub++) {
    const packed = scaleAndMinimum(bytes, at + 4, sub);
    const subScale = scale * (packed >> 6);
    const subMinimum = minimum * (packed & 63);
    const from = at + 48 + 32 * (sub >> 1);
    const shift = 4 * (sub & 1);
    for (let l = 0; l < 32; l++) {
      const high = (bytes[at + 16 + l]! >> sub) & 1;
      out[to + 32 * sub + l] = subScale * (((bytes[from + l]! >> shift) & 15) | (high << 4)) - subMinimum;
    }
  }
};

const q6K: BlockDecoder = (bytes, at, out, to) => {
  const scale = half(bytes, at + 208);
  for (let part = 0; part < 8; part++) {
    const group = part & 3;
    const low = at + 64 * (part >> 2) + 32 * (group & 1);
    const high = at + 128 + 32 * (part >> 2);
    for (let l = 0; l < 32; l++) {
      const q = ((bytes[low + l]! >> (4 * (group >> 1))) & 15) | (((bytes[high + l]! >> (2 * group)) & 3) << 4);
      const subScale = int8(bytes[at + 192 + 2 * part + (l >> 4)]!);
      out[to + 32 * part + l] = scale * subScale * (q - 32);
    }
  }
};

/** The supported types by their GGML number. */
export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map([
  [0, { name: 'F32', blockSize: 1, blockBytes: 4, decode: (bytes) => new Float32Array(copyBuffer(bytes)) }],
  [1, { name: 'F16', blockSize: 1, blockBytes: 2, decode: halfBytesToFloat32 }],
  [2, blocks('Q4_0', 32, 18, q4_0)],
  [3, blocks('Q4_1', 32, 20, q4_1)],
  [6, blocks('Q5_0', 32, 22, q5_0)],
  [7, blocks('Q5_1', 32, 24, q5_1)],
  [8, blocks('Q8_0', 32, 34, q8_0)],
  [12, blocks('Q4_K', 256, 144, q4K)],
  [13, blocks('Q5_K', 256, 176, q5K)],
  [14, blocks('Q6_K', 256, 210, q6K)],
  [30, { name: 'BF16', blockSize: 1, blockBytes: 2, decode: bfloat16BytesToFloat32 }],
]);

/** Types that exist but are not read here, so that a refusal can name them. */
export const OTHER_GGML_TYPES: ReadonlyMap<number, string> = new Map(
  Object.entries({
    9: 'Q8_1',
    10: 'Q2_K',
    11: 'Q3_K',
    15: 'Q8_K',
    16: 'IQ2_XXS',
    17: 'IQ2_XS',
    18: 'IQ3_XXS',
    19: 'IQ1_S',
    20: 'IQ4_NL',
    21: 'IQ3_S',
    22: 'IQ2_S',
    23: 'IQ4_XS',
    24: 'I8',
    25: 'I16',
    26: 'I32',
    27: 'I64',
    28: 'F64',
    29: 'IQ1_M',
    34: 'TQ1_0',
    35: 'TQ2_0',
    39: 'MXFP4',
  }).map(([number, name]) => [Number(number), name]),
);
