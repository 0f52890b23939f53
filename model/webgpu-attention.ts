import type { AttentionLayout } from './kernels.ts';
import { type Segment, segmentLength } from './packing.ts';
import { type Tensor, type Tensor1D, type Tensor2D, tf } from './tf.ts';
import { GROUP, run } from './webgpu-program.ts';

/**
 * Which rows of keys each query sees, as one list of pairs ordered by query: those of query r are
 * `keys[starts[r]] ... keys[starts[r + 1] - 1]`. Attention weights are one number a head and pair.
 */
export interface Pairs {
  count: number;
  queries: number;
  starts: Tensor1D;
  keys: Tensor1D;
}

export interface Heads {
  heads: number;
  kvHeads: number;
  headSize: number;
}

export function uploadPairs(seen: readonly (readonly number[])[]): Pairs {
  const starts = new Int32Array(seen.length + 1);
  seen.forEach((keys, row) => {
    starts[row + 1] = starts[row]! + keys.length;
  });
  const keys = Int32Array.from(seen.flat());
  return {
    count: keys.length,
    queries: seen.length,
    starts: tf.tensor1d(starts, 'int32'),
    keys: tf.tensor1d(keys, 'int32'),
  };
}

/** The keys of each token of a packed batch: the prefix and its own segment, y and y-hat blind to each other. */
export function seenInBatch(prefix: number, segments: readonly Segment[]): number[][] {
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  const seen = range(0, prefix).map((row) => range(0, row + 1));
  for (const segment of segments) {
    const { start, rest, target } = segment;
    const answer = start + rest + target;
    for (let row = start; row < start + segmentLength(segment); row++)
      seen[row] =
        row < answer
          ? [...range(0, prefix), ...range(start, row + 1)]
          : [...range(0, prefix), ...range(start, start + rest), ...range(answer, row + 1)];
  }
  return seen;
}

const shapeOf = ({ heads, kvHeads, headSize }: Heads, { count }: Pairs) => ({ heads, kvHeads, headSize, pairs: count });

/** Finds a row's pairs, its head, and where query and key begin. */
const ROW = `
  let row = group.x;
  let head = group.y;
  let size = uniforms.headSize;
  let query = (row * uniforms.heads + head) * size;
  let ofKey = head / (uniforms.heads / uniforms.kvHeads);
  let first = starts[row];
  let end = starts[row + 1];`;
const KEY = '(keys[pair] * uniforms.kvHeads + ofKey) * size';

/** softmax(q k^T / sqrt(s)) over each query's keys: [h, pairs]. */
export function attentionWeights(q: Tensor2D, k: Tensor2D, pairs: Pairs, of: Heads): Tensor2D {
  return run({
    name: 'attentionWeights',
    inputs: { q, k, starts: pairs.starts, keys: pairs.keys },
    shape: [of.heads, pairs.count],
    whole: shapeOf(of, pairs),
    real: { scale: 1 / Math.sqrt(of.headSize) },
    groups: [pairs.queries, of.heads],
    code: `${ROW}
      var greatest = -3.4e38;
      for (var pair = first + thread; pair < end; pair += ${GROUP}) {
        let key = ${KEY};
        var score = 0.0;
        for (var i = 0; i < size; i++) { score += q[query + i] * k[key + i]; }
        score *= uniforms.scale;
        result[head * uniforms.pairs + pair] = score;
        greatest = max(greatest, score);
      }
      let top = greatestOf(greatest);
      var part = 0.0;
      for (var pair = first + thread; pair < end; pair += ${GROUP}) {
        let weight = exp(result[head * uniforms.pairs + pair] - top);
        result[head * uniforms.pairs + pair] = weight;
        part += weight;
      }
      let total = sumOf(part);
      for (var pair = first + thread; pair < end; pair += ${GROUP}) {
        result[head * uniforms.pairs + pair] = result[head * uniforms.pairs + pair] / total;
      }`,
  }) as Tensor2D;
}

/** Each query's sum of its keys' rows by weight: [h, pairs], [n, k*s] -> [queries, h*s]. */
export function weightedRows(weights: Tensor2D, rows: Tensor2D, pairs: Pairs, of: Heads): Tensor2D {
  return run({
    name: 'weightedRows',
    inputs: { weights, rows, starts: pairs.starts, keys: pairs.keys },
    shape: [pairs.queries, of.heads * of.headSize],
    whole: shapeOf(of, pairs),
    code: `
      let width = uniforms.heads * uniforms.headSize;
      let row = index / width;
      let head = index % width / uniforms.headSize;
      let ofKey = head / (uniforms.heads / uniforms.kvHeads) * uniforms.headSize + index % uniforms.headSize;
      var sum = 0.0;
      for (var pair = starts[row]; pair < starts[row + 1]; pair++) {
        let key = keys[pair] * uniforms.kvHeads * uniforms.headSize + ofKey;
        sum += weights[head * uniforms.pairs + pair] * rows[key];
      }
      result[index] = sum;`,
  }) as Tensor2D;
}

/** Gradient of the scores before their scaling: weight (dO . v - dO . o) / sqrt(s). */
function scoreGrad(dO: Tensor2D, v: Tensor2D, o: Tensor2D, weights: Tensor2D, pairs: Pairs, of: Heads): Tensor2D {
  return run({
    name: 'scoreGrad',
    inputs: { dO, v, o, weights, starts: pairs.starts, keys: pairs.keys },
    shape: [of.heads, pairs.count],
    whole: shapeOf(of, pairs),
    real: { scale: 1 / Math.sqrt(of.headSize) },
    groups: [pairs.queries, of.heads],
    code: `${ROW}
      var part = 0.0;
      for (var i = thread; i < size; i += ${GROUP}) { part += dO[query + i] * o[query + i]; }
      let mean = sumOf(part);
      for (var pair = first + thread; pair < end; pair += ${GROUP}) {
        let key = ${KEY};
        var dWeight = 0.0;
        for (var i = 0; i < size; i++) { dWeight += dO[query + i] * v[key + i]; }
        let at = head * uniforms.pairs + pair;
        result[at] = weights[at] * (dWeight - mean) * uniforms.scale;
      }`,
  }) as Tensor2D;
}

/** The pairs by key: those of key n are `readers[starts[n]] ...`, each a pair's place and its query. */
interface Readers {
  starts: Tensor1D;
  readers: Tensor2D;
}

/** Each key's sum of its queries' rows by weight, over the heads that share it: [h, pairs], [t, h*s] -> [n, k*s]. */
function weightedReaders(weights: Tensor2D, rows: Tensor2D, by: Readers, pairs: Pairs, of: Heads): Tensor2D {
  return run({
    name: 'weightedReaders',
    inputs: { weights, rows, starts: by.starts, readers: by.readers },
    shape: [by.starts.shape[0] - 1, of.kvHeads * of.headSize],
    whole: shapeOf(of, pairs),
    code: `
      let width = uniforms.kvHeads * uniforms.headSize;
      let key = index / width;
      let shared_ = uniforms.heads / uniforms.kvHeads;
      let head = index % width / uniforms.headSize * shared_;
      var sum = 0.0;
      for (var reader = starts[key]; reader < starts[key + 1]; reader++) {
        let pair = readers[2 * reader];
        let row = (readers[2 * reader + 1] * uniforms.heads + head) * uniforms.headSize + index % uniforms.headSize;
        for (var g = 0; g < shared_; g++) {
          sum += weights[(head + g) * uniforms.pairs + pair] * rows[row + g * uniforms.headSize];
        }
      }
      result[index] = sum;`,
  }) as Tensor2D;
}

export interface PairsLayout extends AttentionLayout {
  pairs: Pairs;
  readers: Readers;
}

export function pairsLayout(shape: Omit<AttentionLayout, 'dispose'>): PairsLayout {
  const seen = seenInBatch(shape.prefix, shape.segments);
  const pairs = uploadPairs(seen);
  const readers = uploadReaders(seen);
  return {
    ...shape,
    pairs,
    readers,
    dispose: () => tf.dispose([pairs.starts, pairs.keys, readers.starts, readers.readers]),
  };
}

function uploadReaders(seen: readonly (readonly number[])[]): Readers {
  const byKey: number[][] = seen.map(() => []);
  let pair = 0;
  seen.forEach((keys, row) => {
    for (const key of keys) byKey[key]!.push(pair++, row);
  });
  const starts = new Int32Array(seen.length + 1);
  byKey.forEach((entries, key) => {
    starts[key + 1] = starts[key]! + entries.length / 2;
  });
  return {
    starts: tf.tensor1d(starts, 'int32'),
    readers: tf.tensor2d(Int32Array.from(byKey.flat()), [pair, 2], 'int32'),
  };
}

export function attention(
  q: Tensor2D,
  k: Tensor2D,
  v: Tensor2D,
  layout: PairsLayout,
): { o: Tensor2D; saved: Tensor[] } {
  const weights = attentionWeights(q, k, layout.pairs, layout);
  return { o: weightedRows(weights, v, layout.pairs, layout), saved: [weights] };
}

export function attentionGrad(
  dO: Tensor2D,
  q: Tensor2D,
  k: Tensor2D,
  v: Tensor2D,
  o: Tensor2D,
  weights: Tensor2D,
  layout: PairsLayout,
): { dq: Tensor2D; dk: Tensor2D; dv: Tensor2D } {
  const { pairs, readers } = layout;
  const dScores = scoreGrad(dO, v, o, weights, pairs, layout);
  const gradients = {
    dq: weightedRows(dScores, k, pairs, layout),
    dk: weightedReaders(dScores, q, readers, pairs, layout),
    dv: weightedReaders(weights, dO, readers, pairs, layout),
  };
  dScores.dispose();
  return gradients;
}
