/** One sample of the SOFT loss: token ids of the prompt and of its answers (each ends with the end token). */
export interface Sample {
  windowId: string;
  prompt: ArrayLike<number>;
  /** Tokens of y; absent when its weight is 0. */
  target?: ArrayLike<number>;
  /** Tokens of y-hat; absent when its weight is 0. */
  distilled?: ArrayLike<number>;
}

/** Where one sample's tokens lie in the flat batch. */
export interface Segment {
  windowId: string;
  /** Row of the first token that is not in the shared prefix. */
  start: number;
  /** Tokens of the prompt after the shared prefix. */
  rest: number;
  /** Input tokens of y (its last token is only predicted, never read). */
  target: number;
  /** Input tokens of y-hat. */
  distilled: number;
}

/**
 * A micro-batch as one flat list of tokens: the shared prefix once, then for each sample
 * `[rest of prompt | y | y-hat]`. y and y-hat both continue the prompt and do not see each other.
 */
export interface PackedBatch {
  ids: Int32Array;
  /** Position of each token for RoPE. */
  positions: Int32Array;
  prefix: number;
  segments: Segment[];
  /** Rows of hidden states that predict a response token, y and y-hat in sample order. */
  lossRows: Int32Array;
  lossIds: Int32Array;
  /** 1 where the loss row belongs to y-hat. */
  lossIsDistilled: Uint8Array;
}

/** Length of the longest common prefix, at most `limit`. */
export function commonPrefixLength(sequences: readonly ArrayLike<number>[], limit = Number.POSITIVE_INFINITY): number {
  const first = sequences[0];
  if (first === undefined) return 0;
  let length = Math.min(first.length, limit);
  for (const sequence of sequences) {
    length = Math.min(length, sequence.length);
    for (let i = 0; i < length; i++) if (sequence[i] !== first[i]) length = i;
  }
  return length;
}

/**
 * Packs samples behind their shared prefix of `prefix` tokens. Every prompt must be longer than the prefix,
 * since its last token predicts the first response token.
 */
export function packBatch(samples: readonly Sample[], prefix: number): PackedBatch {
  const ids: number[] = [];
  const positions: number[] = [];
  const segments: Segment[] = [];
  const lossRows: number[] = [];
  const lossIds: number[] = [];
  const lossIsDistilled: number[] = [];
  const push = (sequence: ArrayLike<number>, from: number, to: number, position: number) => {
    for (let i = from; i < to; i++) {
      ids.push(sequence[i] as number);
      positions.push(position + i - from);
    }
  };
  push(samples[0]?.prompt ?? [], 0, prefix, 0);
  for (const sample of samples) {
    const start = ids.length;
    const length = sample.prompt.length;
    if (length <= prefix)
      throw new RangeError(`Expected a prompt longer than the shared prefix (${prefix}), got ${length} tokens`);
    push(sample.prompt, prefix, length, prefix);
    const lastOfPrompt = ids.length - 1;
    const pushAnswer = (answer: ArrayLike<number> | undefined, distilled: number): number => {
      if (answer === undefined || answer.length === 0) return 0;
      const inputs = answer.length - 1;
      const firstRow = ids.length;
      push(answer, 0, inputs, length);
      for (let i = 0; i < answer.length; i++) {
        lossRows.push(i === 0 ? lastOfPrompt : firstRow + i - 1);
        lossIds.push(answer[i] as number);
        lossIsDistilled.push(distilled);
      }
      return inputs;
    };
    const target = pushAnswer(sample.target, 0);
    const distilled = pushAnswer(sample.distilled, 1);
    segments.push({ windowId: sample.windowId, start, rest: length - prefix, target, distilled });
  }
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    prefix,
    segments,
    lossRows: Int32Array.from(lossRows),
    lossIds: Int32Array.from(lossIds),
    lossIsDistilled: Uint8Array.from(lossIsDistilled),
  };
}

/** Tokens of a segment. */
export function segmentLength(segment: Segment): number {
  return segment.rest + segment.target + segment.distilled;
}

/**
 * The attention mask of one segment: 0 where a query sees a key, -1e9 where not.
 * Keys are the whole prefix, then the segment's own tokens. Shape [s, prefix + s], row-major.
 */
export function segmentMask(segment: Segment, prefix: number): Float32Array {
  const length = segmentLength(segment);
  const width = prefix + length;
  const mask = new Float32Array(length * width).fill(-1e9);
  const answer = segment.rest + segment.target;
  for (let row = 0; row < length; row++) {
    const at = row * width;
    const seesOwn = row < answer ? row + 1 : segment.rest;
    mask.fill(0, at, at + prefix + seesOwn);
    if (row >= answer) mask.fill(0, at + prefix + answer, at + prefix + row + 1);
  }
  return mask;
}
