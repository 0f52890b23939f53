import { SoftflowError } from '../../errors.ts';

/** Extreme values written over 4- and 8-byte windows: counts, lengths and offsets live there. */
const EXTREMES = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0x7fffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** A small random generator for tests (SplitMix32): the same seed gives the same numbers. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % below;
  };
}

/** One damaged copy of a file. `headerBytes` is the part that every second mutation hits. */
export function mutate(original: Uint8Array, headerBytes: number, seed: number): Uint8Array {
  const below = random(seed);
  const reach = seed % 2 === 0 ? headerBytes : original.length;
  let bytes: Uint8Array = original.slice();
  for (let times = 1 + below(3); times > 0; times--) bytes = mutateOnce(bytes, Math.min(reach, bytes.length), below);
  return bytes;
}

function mutateOnce(bytes: Uint8Array, reach: number, below: (limit: number) => number): Uint8Array {
  if (reach === 0) return bytes;
  const at = below(reach);
  switch (below(8)) {
    case 0:
      bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
      return bytes;
    case 1:
      bytes[at] = below(256);
      return bytes;
    case 2:
      return writeExtreme(bytes, at, below);
    case 3:
      return writeExtreme(bytes, at - (at % 4), below);
    case 4:
      return bytes.slice(0, at);
    case 5:
      return splice(bytes, at, at + 1 + below(16), new Uint8Array(0));
    case 6: {
      const from = below(bytes.length);
      return splice(bytes, at, at, bytes.slice(from, from + 1 + below(64)));
    }
    default:
      return replaceDigits(bytes, at, below);
  }
}

function writeExtreme(bytes: Uint8Array, at: number, below: (limit: number) => number): Uint8Array {
  const width = below(2) === 0 ? 4 : 8;
  if (at + width > bytes.length) return bytes;
  const value = EXTREMES[below(EXTREMES.length)] as bigint;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (width === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  else view.setBigUint64(at, value, true);
  return bytes;
}

function splice(bytes: Uint8Array, from: number, to: number, middle: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(to)]));
}

/** Text headers keep their numbers as digits: the next one after `at` becomes another. */
function replaceDigits(bytes: Uint8Array, at: number, below: (limit: number) => number): Uint8Array {
  let start = at;
  while (start < bytes.length && !isDigit(bytes[start])) start++;
  let end = start;
  while (end < bytes.length && isDigit(bytes[end])) end++;
  const number = below(4) === 0 ? `-${below(100)}` : `${EXTREMES[below(EXTREMES.length)]}`;
  return splice(bytes, start, end, Buffer.from(number));
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** Mutations of one file: ten times as many in `npm run test:full`. */
export const MUTATIONS = process.env['SOFTFLOW_TEST_FULL'] === '1' ? 100_000 : 10_000;

export interface FuzzResult {
  /** Mutations that were read without an error. */
  accepted: number;
  refused: number;
  /** Seed and text of everything that was not a SoftflowError. */
  untyped: string[];
  /** Milliseconds and seed of the slowest read. */
  slowest: { ms: number; seed: number };
  /** Largest growth in bytes of heap and buffers between two readings. */
  growth: number;
}

/** Reads mutations of a file and says how the reader behaved. */
export async function fuzz(
  original: Uint8Array,
  headerBytes: number,
  read: (bytes: Uint8Array) => Promise<unknown>,
): Promise<FuzzResult> {
  const result: FuzzResult = { accepted: 0, refused: 0, untyped: [], slowest: { ms: 0, seed: -1 }, growth: 0 };
  for (let seed = 0; seed < MUTATIONS; seed++) {
    const bytes = mutate(original, headerBytes, seed);
    const before = memory();
    const start = performance.now();
    try {
      await read(bytes);
      result.accepted++;
    } catch (error) {
      if (error instanceof SoftflowError) result.refused++;
      else result.untyped.push(`seed ${seed}: ${error}`);
    }
    const ms = performance.now() - start;
    if (ms > result.slowest.ms) result.slowest = { ms, seed };
    result.growth = Math.max(result.growth, memory() - before);
  }
  return result;
}

function memory(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
