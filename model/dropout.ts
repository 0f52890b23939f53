import type { PackedBatch } from './packing.ts';

/** Where in a run a micro-batch stands: with the seed, everything that its dropout depends on. */
export interface DropoutPlace {
  seed: number;
  stage: string;
  /** Optimiser step counted over all epochs of the stage. */
  step: number;
}

/** Names the random numbers of every row of a projection's input: element i of a row is a hash of (key, token, i). */
export interface DropoutRows {
  /** Hash of the row's sequence, layer and projection. */
  keys: Int32Array;
  /** The row's token position within its sequence. */
  tokens: Int32Array;
  /** Share of elements that are dropped; the others are scaled by 1 / (1 - rate). */
  rate: number;
}

/** The random numbers for one projection of one layer. */
export type Dropout = (layer: number, projection: string) => DropoutRows;

/**
 * Dropout as a pure function of place: (seed, stage, step, window id or "prefix", segment, layer, projection,
 * token position, feature). Nothing has state, so a resumed run draws the same masks.
 * Tokens of the prefix and of a prompt have one mask, for y and y-hat alike.
 */
export function placedDropout(batch: PackedBatch, place: DropoutPlace, rate: number): Dropout | undefined {
  if (rate === 0) return undefined;
  const sequences = sequencesOf(batch);
  const tokens = new Int32Array(batch.ids.length);
  for (const { start, length } of sequences) for (let i = 0; i < length; i++) tokens[start + i] = i;
  return (layer, projection) => {
    const keys = new Int32Array(batch.ids.length);
    for (const { name, start, length } of sequences)
      keys.fill(
        hash32(`${place.seed}/${place.stage}/${place.step}/${name}/${layer}/${projection}`),
        start,
        start + length,
      );
    return { keys, tokens, rate };
  };
}

function sequencesOf(batch: PackedBatch): { name: string; start: number; length: number }[] {
  const sequences = [{ name: 'prefix', start: 0, length: batch.prefix }];
  for (const { windowId, start, rest, target, distilled } of batch.segments)
    sequences.push(
      { name: `${windowId}/prompt`, start, length: rest },
      { name: `${windowId}/y`, start: start + rest, length: target },
      { name: `${windowId}/y-hat`, start: start + rest + target, length: distilled },
    );
  return sequences;
}

/** The mask itself, [t * width]: 0 where the hash falls below the rate, 1 / (1 - rate) elsewhere. */
export function dropoutMask({ keys, tokens, rate }: DropoutRows, width: number): Float32Array {
  const mask = new Float32Array(keys.length * width);
  const threshold = Math.floor(rate * 2 ** 32);
  const kept = 1 / (1 - rate);
  for (let row = 0; row < keys.length; row++) {
    const key = keys[row]!;
    const first = Math.imul(tokens[row]!, width);
    for (let i = 0; i < width; i++)
      if (mix((key + Math.imul(first + i, 0x9e3779b1)) | 0) >>> 0 >= threshold) mask[row * width + i] = kept;
  }
  return mask;
}

/** A 32-bit hash of a string: FNV-1a, mixed. */
export function hash32(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return mix(h);
}

/** Source: the finaliser of MurmurHash3. */
function mix(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
