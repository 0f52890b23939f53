import { dropoutMask } from './dropout.ts';
import type { AttentionLayout, FrozenMatrix, Kernels, Rotation } from './kernels.ts';
import { type Segment, segmentLength, segmentMask } from './packing.ts';
import { PlainCache } from './plain-cache.ts';
import { type Tensor, type Tensor2D, type Tensor3D, tf, tidy } from './tf.ts';

interface PlainLayout extends AttentionLayout {
  /** Additive masks, [prefix, prefix] first (absent when prefix is 0), then one [s, prefix + s] a segment. */
  masks: Tensor2D[];
}

interface PlainMatrix extends FrozenMatrix {
  weight: Tensor2D;
}

/** The kernels in plain TensorFlow.js operations; they run on every backend. */
export const plainKernels: Kernels = {
  name: 'plain',
  freeze(data, out, inSize): PlainMatrix {
    const weight = tf.tensor2d(data, [out, inSize]);
    return { weight, out, in: inSize, dispose: () => weight.dispose() };
  },
  rows: (weight, ids) => tidy(() => tf.gather((weight as PlainMatrix).weight, tf.tensor1d(ids, 'int32')) as Tensor2D),
  linear: (x, weights) => weights.map((weight) => tf.matMul(x, (weight as PlainMatrix).weight, false, true)),
  lowRank(y, x, { a, b }, scale, dropout) {
    return tidy(() => {
      const input = dropout === undefined ? x : this.dropout(x, dropout);
      const down = tf.matMul(input, a, false, true) as Tensor2D;
      return { sum: tf.add(y, tf.matMul(tf.mul(down, scale), b, false, true)) as Tensor2D, down };
    });
  },
  lowRankGrad(dy, x, down, { a, b }, scale, dropout) {
    return tidy(() => {
      const dropped = (tensor: Tensor2D) => (dropout === undefined ? tensor : this.dropout(tensor, dropout));
      const dDown = tf.mul(tf.matMul(dy, b), scale) as Tensor2D; // [t, r]
      return {
        dx: dropped(tf.matMul(dDown, a) as Tensor2D),
        a: tf.matMul(dDown, dropped(x), true, false) as Tensor2D,
        b: tf.matMul(dy, tf.mul(down, scale) as Tensor2D, true, false) as Tensor2D,
      };
    });
  },
  linearGrad: (dys, weights) =>
    tidy(() => tf.addN(dys.map((dy, i) => tf.matMul(dy, (weights[i] as PlainMatrix).weight))) as Tensor2D),
  rmsNorm,
  addRmsNorm: (x, delta, weight, eps) =>
    tidy(() => {
      const sum = tf.add(x, delta) as Tensor2D;
      return { sum, ...rmsNorm(sum, weight, eps) };
    }),
  rmsNormGrad: (dys, x, weight, r, residual) =>
    tidy(() => {
      const g = tf.mul(dys.length === 1 ? dys[0]! : tf.addN(dys), weight); // dy * w
      const dot = tf.mean(tf.mul(g, x), 1, true); // [t, 1]
      const dx = tf.sub(tf.mul(g, r), tf.mul(x, tf.mul(dot, tf.pow(r, 3)))) as Tensor2D;
      return residual === undefined ? dx : (tf.add(residual, dx) as Tensor2D);
    }),
  dropout: (x, rows) => tidy(() => tf.mul(x, tf.tensor2d(dropoutMask(rows, x.shape[1]), x.shape)) as Tensor2D),
  rope: (x, rotation, heads) => rotate(x, rotation, heads, 1),
  ropeGrad: (dy, rotation, heads) => rotate(dy, rotation, heads, -1),
  layout(shape): PlainLayout {
    const masks = shape.segments.map((segment) => {
      const length = segmentLength(segment);
      return tf.tensor2d(segmentMask(segment, shape.prefix), [length, shape.prefix + length]);
    });
    if (shape.prefix > 0) {
      const causal: Segment = { windowId: '', start: 0, rest: shape.prefix, target: 0, distilled: 0 };
      masks.unshift(tf.tensor2d(segmentMask(causal, 0), [shape.prefix, shape.prefix]));
    }
    return { ...shape, masks, dispose: () => tf.dispose(masks) };
  },
  attention: (q, k, v, layout) =>
    tidy(() => {
      const parts: Tensor2D[] = [];
      const saved: Tensor[] = [];
      for (const part of partsOf(layout)) {
        const query = toHeads(rows(q, part), layout.kvHeads, layout.headSize); // [k, g*s, hs]
        const key = toHeads(keysOf(k, part, layout), layout.kvHeads, layout.headSize); // [k, l, hs]
        const value = toHeads(keysOf(v, part, layout), layout.kvHeads, layout.headSize);
        const weights = attentionWeights(query, key, part.mask, layout);
        parts.push(fromHeads(tf.matMul(weights, value) as Tensor3D, part.length, layout));
        saved.push(weights);
      }
      return { o: (parts.length === 1 ? parts[0] : tf.concat(parts, 0)) as Tensor2D, saved };
    }),
  attentionGrad: (dO, q, k, v, o, saved, layout) => tidy(() => attentionGrad(dO, q, k, v, o, saved, layout)),
  bestTokens: (logits, count) =>
    tidy(() => {
      const top = tf.topk(logits, count, true);
      const logProbs = tf.sub(top.values, tf.logSumExp(logits, 1, true)) as Tensor2D;
      return { logProbs, ids: top.indices as Tensor2D };
    }),
  cache: (config, batch, beams) => new PlainCache(config, batch, beams),
  swiGlu: (g, u) => tidy(() => tf.mul(tf.mul(g, tf.sigmoid(g)), u) as Tensor2D),
  swiGluGrad: (da, g, u) =>
    tidy(() => {
      const sigmoid = tf.sigmoid(g);
      const silu = tf.mul(g, sigmoid);
      // d silu / dg = sigmoid (1 + g (1 - sigmoid)) = sigmoid + silu - silu * sigmoid
      const slope = tf.sub(tf.add(sigmoid, silu), tf.mul(silu, sigmoid));
      return { dg: tf.mul(tf.mul(da, u), slope) as Tensor2D, du: tf.mul(da, silu) as Tensor2D };
    }),
  crossEntropy: (logits, ids) =>
    tidy(() => {
      const logProbs = tf.logSoftmax(logits);
      const oneHot = tf.oneHot(tf.tensor1d(ids, 'int32'), logits.shape[1]);
      return {
        loss: tf.neg(tf.sum(tf.mul(logProbs, oneHot), 1)),
        dLogits: tf.sub(tf.exp(logProbs), oneHot) as Tensor2D,
      };
    }),
};

function rmsNorm(x: Tensor2D, weight: Tensor, eps: number): { y: Tensor2D; r: Tensor2D } {
  return tidy(() => {
    const r = tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), eps)) as Tensor2D; // [t, 1]
    return { y: tf.mul(tf.mul(x, r), weight) as Tensor2D, r };
  });
}

function rotate(x: Tensor2D, rotation: Rotation, heads: number, sign: 1 | -1): Tensor2D {
  return tidy(() => {
    const [tokens, width] = x.shape;
    const half = width / heads / 2;
    const split = tf.reshape(x, [tokens, heads, 2, half]); // [t, h, 2, s/2]
    const [a, b] = tf.unstack(split, 2) as [Tensor, Tensor]; // [t, h, s/2]
    const cos = tf.reshape(rotation.cos, [tokens, 1, half]);
    const sin = tf.mul(tf.reshape(rotation.sin, [tokens, 1, half]), sign);
    const rotated = [tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))];
    return tf.reshape(tf.stack(rotated, 2), [tokens, width]) as Tensor2D;
  });
}

interface Part {
  start: number;
  length: number;
  /** Whether the prefix's keys come before the part's own. */
  seesPrefix: boolean;
  mask: Tensor2D;
}

/** The prefix (when there is one) and the segments, each attended on its own. */
function partsOf(layout: AttentionLayout): Part[] {
  const masks = [...(layout as PlainLayout).masks];
  const parts: Part[] = [];
  if (layout.prefix > 0)
    parts.push({ start: 0, length: layout.prefix, seesPrefix: false, mask: masks.shift() as Tensor2D });
  layout.segments.forEach((segment, i) => {
    const mask = masks[i] as Tensor2D;
    parts.push({ start: segment.start, length: segmentLength(segment), seesPrefix: layout.prefix > 0, mask });
  });
  return parts;
}

function rows(x: Tensor2D, part: Part): Tensor2D {
  return tf.slice(x, [part.start, 0], [part.length, -1]);
}

function keysOf(x: Tensor2D, part: Part, layout: AttentionLayout): Tensor2D {
  const own = rows(x, part);
  return part.seesPrefix ? tf.concat([tf.slice(x, [0, 0], [layout.prefix, -1]), own], 0) : own;
}

/** [n, k*g*s] -> [k, g*n, s], the query heads of one kv head together. */
function toHeads(x: Tensor2D, kvHeads: number, headSize: number): Tensor3D {
  const [n, width] = x.shape;
  const groups = width / kvHeads / headSize;
  const split = tf.transpose(tf.reshape(x, [n, kvHeads, groups, headSize]), [1, 2, 0, 3]); // [k, g, n, s]
  return tf.reshape(split, [kvHeads, groups * n, headSize]) as Tensor3D;
}

/** [k, g*n, s] -> [n, k*g*s]. */
function fromHeads(x: Tensor3D, n: number, layout: AttentionLayout): Tensor2D {
  const groups = x.shape[1] / n;
  const split = tf.transpose(tf.reshape(x, [x.shape[0], groups, n, layout.headSize]), [2, 0, 1, 3]); // [n, k, g, s]
  return tf.reshape(split, [n, -1]) as Tensor2D;
}

function attentionWeights(query: Tensor3D, key: Tensor3D, mask: Tensor2D, layout: AttentionLayout): Tensor3D {
  const scores = tf.mul(tf.matMul(query, key, false, true), 1 / Math.sqrt(layout.headSize)); // [k, g*n, l]
  const [n, l] = mask.shape;
  const masked = tf.add(tf.reshape(scores, [-1, n, l]), mask); // [k*g, n, l]
  return tf.reshape(tf.softmax(masked), [scores.shape[0] as number, -1, l]) as Tensor3D;
}

function attentionGrad(
  dO: Tensor2D,
  q: Tensor2D,
  k: Tensor2D,
  v: Tensor2D,
  o: Tensor2D,
  saved: Tensor[],
  layout: AttentionLayout,
): { dq: Tensor2D; dk: Tensor2D; dv: Tensor2D } {
  const { kvHeads, headSize, prefix } = layout;
  const dqs: Tensor2D[] = [];
  const dks: Tensor2D[] = [];
  const dvs: Tensor2D[] = [];
  let prefixDk: Tensor2D | undefined;
  let prefixDv: Tensor2D | undefined;
  partsOf(layout).forEach((part, i) => {
    const weights = saved[i] as Tensor3D;
    const query = toHeads(rows(q, part), kvHeads, headSize);
    const key = toHeads(keysOf(k, part, layout), kvHeads, headSize);
    const value = toHeads(keysOf(v, part, layout), kvHeads, headSize);
    const dOut = toHeads(rows(dO, part), kvHeads, headSize);
    const out = toHeads(rows(o, part), kvHeads, headSize);
    const dWeights = tf.matMul(dOut, value, false, true);
    const dot = tf.sum(tf.mul(dOut, out), 2, true);
    const dScores = tf.mul(tf.mul(weights, tf.sub(dWeights, dot)), 1 / Math.sqrt(headSize));
    dqs.push(fromHeads(tf.matMul(dScores, key) as Tensor3D, part.length, layout));
    const keys = key.shape[1];
    const dKey = fromHeads(tf.matMul(dScores, query, true, false) as Tensor3D, keys, layout);
    const dValue = fromHeads(tf.matMul(weights, dOut, true, false) as Tensor3D, keys, layout);
    const before = part.seesPrefix ? prefix : 0;
    dks.push(tf.slice(dKey, [before, 0], [part.length, -1]));
    dvs.push(tf.slice(dValue, [before, 0], [part.length, -1]));
    if (before > 0) {
      prefixDk = addTo(prefixDk, tf.slice(dKey, [0, 0], [before, -1]));
      prefixDv = addTo(prefixDv, tf.slice(dValue, [0, 0], [before, -1]));
    }
  });
  if (prefixDk && prefixDv) {
    dks[0] = tf.add(dks[0] as Tensor2D, prefixDk);
    dvs[0] = tf.add(dvs[0] as Tensor2D, prefixDv);
  }
  return { dq: tf.concat(dqs, 0), dk: tf.concat(dks, 0), dv: tf.concat(dvs, 0) };
}

function addTo(sum: Tensor2D | undefined, term: Tensor2D): Tensor2D {
  return sum === undefined ? term : (tf.add(sum, term) as Tensor2D);
}
