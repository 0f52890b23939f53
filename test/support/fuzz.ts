import { expect, type TestContext } from 'vitest';
import { SoftflowError } from '../../errors.ts';
import { faultFigure } from './fault-figures.ts';

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

export type Below = (limit: number) => number;

/** A small random generator for tests (SplitMix32): the same seed gives the same numbers. */
export function random(seed: number): Below {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % below;
  };
}

/** A file to damage, and where its header lies: `[from, to)`, negative ones counted from the file's end. */
export interface FuzzSeed {
  bytes: Uint8Array;
  header: readonly [from: number, to: number];
}

/** One damaged copy of a file. Every second mutation hits the header alone. */
export function mutate({ bytes: original, header }: FuzzSeed, seed: number): Uint8Array {
  const below = random(seed);
  const [from, to] = header.map((at) => (at < 0 ? original.length + at : at)) as [number, number];
  let bytes: Uint8Array = Uint8Array.from(original);
  for (let times = 1 + below(3); times > 0; times--) {
    const [start, end] = seed % 2 === 0 ? [from, Math.min(to, bytes.length)] : [0, bytes.length];
    if (end > start) bytes = mutateOnce(bytes, start + below(end - start), below);
  }
  return bytes;
}

function mutateOnce(bytes: Uint8Array, at: number, below: Below): Uint8Array {
  switch (below(9)) {
    case 0:
      bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
      return bytes;
    case 1:
      bytes[at] = below(256);
      return bytes;
    case 2:
      return writeNumber(bytes, at, EXTREMES[below(EXTREMES.length)] as bigint, below);
    case 3:
      return writeNumber(bytes, at - (at % 4), EXTREMES[below(EXTREMES.length)] as bigint, below);
    case 4:
      return bytes.slice(0, at);
    case 5:
      return splice(bytes, at, at + 1 + below(16), new Uint8Array(0));
    case 6: {
      const from = below(bytes.length);
      return splice(bytes, at, at, bytes.slice(from, from + 1 + below(64)));
    }
    case 7:
      // A length that is right, one short or one too long for what follows.
      return writeNumber(bytes, at - (at % 4), BigInt(Math.max(0, bytes.length - at - 9 + below(10))), below);
    default:
      return replaceDigits(bytes, at, below);
  }
}

function writeNumber(bytes: Uint8Array, at: number, value: bigint, below: Below): Uint8Array {
  const width = below(2) === 0 ? 4 : 8;
  if (at + width > bytes.length) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (width === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  else view.setBigUint64(at, value, true);
  return bytes;
}

function splice(bytes: Uint8Array, from: number, to: number, middle: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(to)]));
}

/** Text headers keep their numbers as digits: the next one after `at` becomes another. */
function replaceDigits(bytes: Uint8Array, at: number, below: Below): Uint8Array {
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

/** Far beyond what {@link MUTATIONS} reads take on a busy machine; each read has its own bound. */
export const FUZZ_TIMEOUT_MS = 3_600_000;

/** Mutations of one format: ten times as many in the full level. */
export const MUTATIONS = process.env['SOFTFLOW_TEST_FULL'] === '1' ? 100_000 : 10_000;

export interface FuzzTarget {
  /** Half of the mutations start from these in turn. */
  whole: readonly FuzzSeed[];
  /** The other half start from damaged files, one of each class that mutations of a whole one would seldom meet. */
  refused?: readonly (FuzzSeed & { name: string; message: RegExp })[];
  /** The text by which each other class of refusal is known. */
  classes?: Readonly<Record<string, RegExp>>;
  read(bytes: Uint8Array): unknown;
}

interface FuzzResult {
  /** Mutations that were read without an error. */
  accepted: number;
  refused: number;
  /** How many refusals were of each class. */
  classes: Record<string, number>;
  /** Seed and text of everything that was not a SoftflowError. */
  untyped: string[];
  /** Mutation after which the processor had been at work for longest, in milliseconds; other work does not count. */
  slowest: { ms: number; seed: number };
  /** Largest growth in bytes of heap and buffers during one read. */
  growth: number;
}

/**
 * Reads {@link MUTATIONS} damaged files and demands what row S1 promises: a whole file or a SoftflowError, every class of
 * refusal met, no second of work and no memory beyond four times the file and 64 MiB for any of them.
 */
export async function expectSafeReader(context: TestContext, target: FuzzTarget): Promise<void> {
  const result = await fuzz(target);
  const largest = Math.max(...[...target.whole, ...(target.refused ?? [])].map(({ bytes }) => bytes.length));
  expect(result.untyped).toEqual([]);
  expect(Object.entries(result.classes).filter(([, count]) => count === 0)).toEqual([]);
  expect(result.accepted).toBeGreaterThan(0);
  expect(result.refused).toBeGreaterThan(MUTATIONS / 4);
  expect(result.slowest.ms, `mutation ${result.slowest.seed}`).toBeLessThan(1_000);
  expect(result.growth).toBeLessThan(4 * largest + 64 * 2 ** 20);
  const figure = `${result.refused} refused in ${Object.keys(result.classes).length} classes, slowest ${Math.round(result.slowest.ms)} ms`;
  faultFigure(context, MUTATIONS, figure);
}

async function fuzz({ whole, refused = [], classes = {}, read }: FuzzTarget): Promise<FuzzResult> {
  const texts = [...refused.map(({ name, message }) => [name, message] as const), ...Object.entries(classes)];
  const counts = Object.fromEntries(texts.map(([name]) => [name, 0]));
  const result: FuzzResult = {
    accepted: 0,
    refused: 0,
    classes: counts,
    untyped: [],
    slowest: { ms: 0, seed: -1 },
    growth: 0,
  };
  for (let seed = 0; seed < MUTATIONS; seed++) {
    const seeds = seed % 4 < 2 || refused.length === 0 ? whole : refused;
    const bytes = mutate(seeds[(seed >> 2) % seeds.length] as FuzzSeed, seed);
    const before = memory();
    const start = process.cpuUsage();
    try {
      await read(bytes);
      result.accepted++;
    } catch (error) {
      if (error instanceof SoftflowError) {
        result.refused++;
        for (const [name, text] of texts) if (text.test(error.message)) counts[name] = (counts[name] ?? 0) + 1;
      } else result.untyped.push(`mutation ${seed}: ${error}`);
    }
    const { user, system } = process.cpuUsage(start);
    const ms = (user + system) / 1000;
    if (ms > result.slowest.ms) result.slowest = { ms, seed };
    result.growth = Math.max(result.growth, memory() - before);
  }
  return result;
}

function memory(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
