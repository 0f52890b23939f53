import type { DropoutRows } from '../../model/dropout.ts';
import type { Kernels, Tensor, Tensor2D } from '../../model/kernels.ts';
import { packBatch } from '../../model/packing.ts';
import { rotationAt } from '../../model/rotary.ts';
import { tf } from '../../model/tf.ts';
import { uniform } from './reference.ts';

/** A seeded tensor of numbers in [-scale, scale). */
export function filled(shape: [number, number], stream: number, scale = 1): Tensor2D {
  return tf.tensor2d(
    Float32Array.from(uniform(shape[0] * shape[1], stream), (x) => x * scale),
    shape,
  );
}

/** Shape of an attention: tokens of each segment as [rest, target, distilled]. */
export interface AttentionShape {
  prefix: number;
  parts: [number, number, number][];
  heads: number;
  kvHeads: number;
  headSize: number;
}

export const ATTENTION_SHAPES: Record<string, AttentionShape> = {
  'one token': { prefix: 0, parts: [[1, 0, 0]], heads: 1, kvHeads: 1, headSize: 16 },
  'a prompt behind a prefix': { prefix: 7, parts: [[9, 0, 0]], heads: 2, kvHeads: 2, headSize: 64 },
  'y alone': {
    prefix: 3,
    parts: [
      [2, 4, 0],
      [5, 1, 0],
    ],
    heads: 3,
    kvHeads: 1,
    headSize: 16,
  },
  'y-hat alone, no prefix': { prefix: 0, parts: [[2, 0, 4]], heads: 6, kvHeads: 2, headSize: 16 },
  'y and y-hat of three prompts': {
    prefix: 37,
    parts: [
      [30, 9, 5],
      [1, 1, 1],
      [13, 3, 17],
    ],
    heads: 9,
    kvHeads: 3,
    headSize: 64,
  },
  'heads of no whole vectors': { prefix: 2, parts: [[3, 2, 2]], heads: 4, kvHeads: 2, headSize: 24 },
  'large heads': { prefix: 5, parts: [[20, 7, 6]], heads: 2, kvHeads: 2, headSize: 128 },
};

export function attentionInputs(shape: AttentionShape) {
  const { prefix, heads, kvHeads, headSize } = shape;
  let start = prefix;
  const segments = shape.parts.map(([rest, target, distilled], i) => {
    const segment = { windowId: `w${i}`, start, rest, target, distilled };
    start += rest + target + distilled;
    return segment;
  });
  return {
    layout: { prefix, segments, heads, kvHeads, headSize },
    q: filled([start, heads * headSize], 1),
    k: filled([start, kvHeads * headSize], 2),
    v: filled([start, kvHeads * headSize], 3),
    dO: filled([start, heads * headSize], 4),
  };
}

const attention = (shape: AttentionShape) => (kernels: Kernels) => {
  const { layout: of, q, k, v, dO } = attentionInputs(shape);
  const layout = kernels.layout(of);
  const { o, saved } = kernels.attention(q, k, v, layout);
  const { dq, dk, dv } = kernels.attentionGrad(dO, q, k, v, o, saved, layout);
  layout.dispose();
  tf.dispose([q, k, v, dO, saved]);
  return [o, dq, dk, dv];
};

/** Row counts and widths: below, at and beside whole vectors of 16, and large enough for several threads. */
const ROW_SHAPES: [number, number][] = [
  [1, 2],
  [1, 16],
  [3, 15],
  [5, 17],
  [100, 576],
];

const norms = (shape: [number, number]) => (kernels: Kernels) => {
  const x = filled(shape, 1);
  const delta = filled(shape, 2);
  const weight = tf.tensor1d(Float32Array.from(uniform(shape[1], 3), (w) => 1 + w / 10));
  const dys = [filled(shape, 4), filled(shape, 5), filled(shape, 6)];
  const { y, r } = kernels.rmsNorm(x, weight, 1e-5);
  const added = kernels.addRmsNorm(x, delta, weight, 1e-5);
  const alone = kernels.rmsNormGrad(dys.slice(0, 1), x, weight, r);
  const summed = kernels.rmsNormGrad(dys, x, weight, r, delta);
  tf.dispose([x, delta, weight, dys]);
  return [y, r, added.sum, added.y, added.r, alone, summed];
};

const rotations = (heads: number, headSize: number) => (kernels: Kernels) => {
  const tokens = 7;
  const frequencies = Float32Array.from({ length: headSize / 2 }, (_, i) => 10_000 ** ((-2 * i) / headSize));
  const rotation = rotationAt(Int32Array.of(0, 1, 2, 50, 51, 3, 700), frequencies);
  const x = filled([tokens, heads * headSize], 1);
  const outputs = [kernels.rope(x, rotation, heads), kernels.ropeGrad(x, rotation, heads)];
  rotation.dispose();
  x.dispose();
  return outputs;
};

const swiGlu = (shape: [number, number]) => (kernels: Kernels) => {
  // Gates up to 30 on both sides: where the sigmoid is as good as 0 or 1.
  const [g, u, da] = [filled(shape, 1, 30), filled(shape, 2), filled(shape, 3)];
  const { dg, du } = kernels.swiGluGrad(da, g, u);
  const a = kernels.swiGlu(g, u);
  tf.dispose([g, u, da]);
  return [a, dg, du];
};

/** Products with frozen matrices, and their rows; shapes at and beside whole panels and blocks of rows. */
export interface ProductShape {
  rows: number;
  in: number;
  outs: number[];
}

export const PRODUCT_SHAPES: Record<string, ProductShape> = {
  'one row': { rows: 1, in: 2, outs: [1] },
  'few rows through three matrices': { rows: 13, in: 70, outs: [96, 48, 32] },
  'a decode step': { rows: 32, in: 576, outs: [576, 192, 192] },
  'outputs beside whole panels': { rows: 7, in: 33, outs: [47, 50, 17] },
  'the rows of a micro-batch': { rows: 301, in: 192, outs: [160, 100] },
  'more rows than a chunk has': { rows: 700, in: 100, outs: [150] },
  'more of a gradient than is transposed at a time': { rows: 150, in: 400, outs: [1200] },
};

export function productInputs({ rows, in: width, outs }: ProductShape) {
  const data = (values: Tensor2D) => {
    const array = Float32Array.from(values.dataSync());
    values.dispose();
    return array;
  };
  return {
    x: filled([rows, width], 1),
    weights: outs.map((out, i) => ({ out, data: data(filled([out, width], 10 + i)) })),
    dys: outs.map((out, i) => filled([rows, out], 20 + i)),
  };
}

/** Products, gradients and rows of each matrix. */
export const products = (shape: ProductShape) => (kernels: Kernels) => {
  const { x, weights, dys } = productInputs(shape);
  const matrices = weights.map(({ out, data }) => kernels.freeze(data, out, shape.in));
  const ys = kernels.linear(x, matrices);
  const dxs = [
    ...matrices.map((matrix, i) => kernels.linearGrad([dys[i]!], [matrix])),
    kernels.linearGrad(dys, matrices),
  ];
  const rows = matrices.map((matrix) => kernels.rows(matrix, Int32Array.of(matrix.out - 1, 0, matrix.out - 1)));
  for (const matrix of matrices) matrix.dispose();
  tf.dispose([x, dys]);
  return [...ys, ...dxs, ...rows];
};

const lowRank =
  ([rows, width]: [number, number], out: number, rank: number) =>
  (kernels: Kernels) => {
    const [y, x] = [filled([rows, out], 1), filled([rows, width], 2)];
    const pair = { a: filled([rank, width], 3), b: filled([out, rank], 4) };
    const { sum, down } = kernels.lowRank(y, x, pair, 2);
    const { dx, a, b } = kernels.lowRankGrad(y, x, down, pair, 2);
    tf.dispose([y, x, pair.a, pair.b]);
    return [sum, down, dx, a, b];
  };

/** Logits of whole numbers, so that many are equal: the least id comes first. */
const bestTokens = (shape: [number, number], count: number) => (kernels: Kernels) => {
  const logits = tf.tidy(() => tf.round(filled(shape, 1, 6)) as Tensor2D);
  const { logProbs, ids } = kernels.bestTokens(logits, count);
  logits.dispose();
  return [logProbs, ids];
};

const crossEntropy = (shape: [number, number]) => (kernels: Kernels) => {
  const logits = filled(shape, 1, 20);
  const ids = Int32Array.from({ length: shape[0] }, (_, t) => (t * 7) % shape[1]);
  const { loss, dLogits } = kernels.crossEntropy(logits, ids);
  logits.dispose();
  return [loss, dLogits];
};

export function dropoutRows(rows: number, rate: number): DropoutRows {
  return {
    keys: Int32Array.from({ length: rows }, (_, t) => Math.imul(t >> 2, 0x2545f491)),
    tokens: Int32Array.from({ length: rows }, (_, t) => t * 3),
    rate,
  };
}

/** An adapter whose A is the identity, so that `down` is x after dropout; and another one with its gradients. */
const dropout =
  ([rows, width]: [number, number], rate: number) =>
  (kernels: Kernels) => {
    const dropped = dropoutRows(rows, rate);
    const [x, y] = [filled([rows, width], 1), filled([rows, 19], 2)];
    const identity = { a: tf.eye(width) as Tensor2D, b: tf.zeros([19, width]) as Tensor2D };
    const pair = { a: filled([3, width], 3), b: filled([19, 3], 4) };
    const all = kernels.lowRank(y, x, identity, 1, dropped);
    const { sum, down } = kernels.lowRank(y, x, pair, 2, dropped);
    const { dx, a, b } = kernels.lowRankGrad(y, x, down, pair, 2, dropped);
    tf.dispose([x, y, identity, pair, all.sum] as never);
    return [all.down, sum, down, dx, a, b];
  };

/** A decode whose beams change places and whose prompts end, one step after the other. */
export interface DecodeShape {
  prefix: number;
  rests: number[];
  beams: number;
  heads: number;
  kvHeads: number;
  headSize: number;
}

export const DECODE_SHAPES: Record<string, DecodeShape> = {
  'four beams of three prompts': { prefix: 4, rests: [3, 1, 18], beams: 4, heads: 9, kvHeads: 3, headSize: 64 },
  'one beam, no prefix': { prefix: 0, rests: [2, 5, 1], beams: 1, heads: 2, kvHeads: 2, headSize: 16 },
  'heads of no whole vectors': { prefix: 1, rests: [1, 2, 3], beams: 2, heads: 4, kvHeads: 2, headSize: 8 },
  'more queries than a vector has lanes': {
    prefix: 20,
    rests: [1, 2, 3],
    beams: 3,
    heads: 16,
    kvHeads: 2,
    headSize: 16,
  },
};

const decode = (shape: DecodeShape) => (kernels: Kernels) => {
  const { prefix, rests, beams, heads, kvHeads, headSize } = shape;
  const layers = 2;
  const batch = packBatch(
    rests.map((rest, i) => ({ windowId: `w${i}`, prompt: new Int32Array(prefix + rest) })),
    prefix,
  );
  const cache = kernels.cache({ layers, heads, kvHeads, headSize }, batch, beams, 5);
  const outputs: Tensor[] = [];
  let stream = 10;
  const next = (rows: number, count: number) => filled([rows, count * headSize], stream++);
  for (let layer = 0; layer < layers; layer++) {
    const [k, v] = [next(batch.ids.length, kvHeads), next(batch.ids.length, kvHeads)];
    cache.addPrompts(k, v);
    tf.dispose([k, v]);
  }
  const step = (prompts: number[], origins: number[]) => {
    cache.advance(Int32Array.from(prompts), Int32Array.from(origins));
    const rows = prompts.length * beams;
    for (let layer = 0; layer < layers; layer++) {
      const [q, k, v] = [next(rows, heads), next(rows, kvHeads), next(rows, kvHeads)];
      outputs.push(cache.attend(layer, q, k, v));
      tf.dispose([q, k, v]);
    }
  };
  const beamsOf = (prompts: number[], pick: (beam: number) => number) =>
    prompts.flatMap((prompt) => Array.from({ length: beams }, (_, b) => prompt * beams + pick(b)));
  step([0, 1, 2], []);
  step(
    [0, 1, 2],
    beamsOf([0, 1, 2], (b) => beams - 1 - b),
  );
  step(
    [0, 2],
    beamsOf([0, 2], (b) => b >> 1),
  );
  step(
    [0, 1],
    beamsOf([0, 1], (b) => (b + 1) % beams),
  );
  step(
    [1],
    beamsOf([1], (b) => b),
  );
  cache.dispose();
  return outputs;
};

/** Every fused kernel on shapes that are odd in some way: outputs and vector-Jacobian products. The caller disposes. */
export const KERNEL_CASES: Record<string, (kernels: Kernels) => Tensor[]> = {
  ...named('norm of', Object.fromEntries(ROW_SHAPES.map((shape) => [shape.join('x'), norms(shape)]))),
  'rope of one head of 16': rotations(1, 16),
  'rope of three heads of 64': rotations(3, 64),
  'rope of two heads of 128': rotations(2, 128),
  ...named('swiglu of', Object.fromEntries(ROW_SHAPES.map((shape) => [shape.join('x'), swiGlu(shape)]))),
  ...named('products of', mapped(PRODUCT_SHAPES, products)),
  ...named('low rank of', Object.fromEntries(ROW_SHAPES.map((shape) => [shape.join('x'), lowRank(shape, 35, 3)]))),
  'low rank of more rows than are added at a time': lowRank([150, 20], 35, 3),
  ...named(
    'best tokens of',
    Object.fromEntries(ROW_SHAPES.map((shape) => [shape.join('x'), bestTokens(shape, Math.min(8, shape[1]))])),
  ),
  ...named('cross-entropy of', Object.fromEntries(ROW_SHAPES.map((shape) => [shape.join('x'), crossEntropy(shape)]))),
  'low rank of whole blocks of rows and ranks': lowRank([38, 64], 48, 8),
  ...named('dropout of', Object.fromEntries(ROW_SHAPES.map((shape) => [shape.join('x'), dropout(shape, 0.05)]))),
  ...named('attention of', mapped(ATTENTION_SHAPES, attention)),
  ...named('decode attention of', mapped(DECODE_SHAPES, decode)),
};

function mapped<A, B>(record: Record<string, A>, change: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}

function named<A>(prefix: string, record: Record<string, A>): Record<string, A> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [`${prefix} ${name}`, value]));
}
