import type { DropoutRows } from './dropout.ts';
import type { LoraPair } from './lora.ts';
import type { PackedBatch, Segment } from './packing.ts';
import type { Tensor, Tensor2D, Tensor3D } from './tf.ts';

/** A frozen matrix [out, in], held in the precision of its products. */
export interface FrozenMatrix {
  readonly out: number;
  readonly in: number;
  dispose(): void;
}

/** cos and sin of each token's angles, [t, headSize / 2]. */
export interface Rotation {
  cos: Tensor2D;
  sin: Tensor2D;
  dispose(): void;
}

export interface CacheConfig {
  layers: number;
  heads: number;
  kvHeads: number;
  headSize: number;
}

/** Who sees whom in a packed batch; what else it holds is the kernel set's own. */
export interface AttentionLayout {
  prefix: number;
  segments: Segment[];
  heads: number;
  kvHeads: number;
  headSize: number;
  dispose(): void;
}

/** Keys and values of a tile of prompts and of what their beams have generated. Row `r * beams + b` is beam b of prompt r. */
export interface KeyValueCache {
  /** Takes the next layer's keys and values of the whole packed batch, [t, k * s]. */
  addPrompts(k: Tensor2D, v: Tensor2D): void;
  /** Attention of one new token a beam over its prompt and what it has generated; q [rows, h*s], k and v [rows, k*s]. */
  attend(layer: number, q: Tensor2D, k: Tensor2D, v: Tensor2D): Tensor2D;
  /**
   * Before each decode step: the prompts that still run (as their places among those of the step before) and, for each
   * of their beams, the row of the step before that it goes on from (empty before the first step).
   */
  advance(prompts: Int32Array, origins: Int32Array): void;
  dispose(): void;
}

/**
 * The heavy pieces of a decoder layer with their hand-written vector-Jacobian products.
 * `plainKernels` reads like the formulas and runs on every backend; other sets must agree with it (tests).
 * Legend: t tokens, d model, h heads, k kv heads, s head size, f feed-forward, v vocabulary.
 * Results belong to the caller; inputs are never disposed.
 */
export interface Kernels {
  readonly name: string;
  /** Puts a float32 matrix [out, in] where the products take it from. */
  freeze(data: Float32Array, out: number, inSize: number): FrozenMatrix;
  /** Rows of a frozen matrix in float32: the embedding look-up. */
  rows(weight: FrozenMatrix, ids: Int32Array): Tensor2D;
  /** x . W^T for each matrix: [t, in] -> [t, out] each. */
  linear(x: Tensor2D, weights: readonly FrozenMatrix[]): Tensor2D[];
  /** y + scale (x A^T) B^T and x A^T after dropout of x, for A [r, in] and B [out, r]. Source: Hu et al. 2021. */
  lowRank(
    y: Tensor2D,
    x: Tensor2D,
    pair: LoraPair,
    scale: number,
    dropout?: DropoutRows,
  ): { sum: Tensor2D; down: Tensor2D };
  /** What `lowRank` adds, backwards: dx, dA and dB from dy [t, out], x before dropout, and `down`. */
  lowRankGrad(
    dy: Tensor2D,
    x: Tensor2D,
    down: Tensor2D,
    pair: LoraPair,
    scale: number,
    dropout?: DropoutRows,
  ): { dx: Tensor2D; a: Tensor2D; b: Tensor2D };
  /** The sum of dy . W over the matrices: [t, out] each -> [t, in]. */
  linearGrad(dys: readonly Tensor2D[], weights: readonly FrozenMatrix[]): Tensor2D;
  /** y = x * r * w with r = 1 / sqrt(mean(x^2) + eps). Source: Zhang and Sennrich 2019. */
  rmsNorm(x: Tensor2D, weight: Tensor, eps: number): { y: Tensor2D; r: Tensor2D };
  /** The norm of x + delta, and that sum. */
  addRmsNorm(x: Tensor2D, delta: Tensor2D, weight: Tensor, eps: number): { sum: Tensor2D; y: Tensor2D; r: Tensor2D };
  /** dx for the sum of `dys`, with `residual` added where there is one. */
  rmsNormGrad(dys: Tensor2D[], x: Tensor2D, weight: Tensor, r: Tensor2D, residual?: Tensor2D): Tensor2D;
  /** Drops and scales elements of x as `rows` says. It is linear, so it is its own gradient. */
  dropout(x: Tensor2D, rows: DropoutRows): Tensor2D;
  /** Rotates the halves of every head: (a, b) -> (a cos - b sin, b cos + a sin). x: [t, heads * s]. */
  rope(x: Tensor2D, rotation: Rotation, heads: number): Tensor2D;
  ropeGrad(dy: Tensor2D, rotation: Rotation, heads: number): Tensor2D;
  layout(shape: {
    prefix: number;
    segments: Segment[];
    heads: number;
    kvHeads: number;
    headSize: number;
  }): AttentionLayout;
  /** softmax(q k^T / sqrt(s) + mask) v over the packed batch. q: [t, h*s], k and v: [t, k*s] -> [t, h*s]. */
  attention(q: Tensor2D, k: Tensor2D, v: Tensor2D, layout: AttentionLayout): { o: Tensor2D; saved: Tensor[] };
  attentionGrad(
    dO: Tensor2D,
    q: Tensor2D,
    k: Tensor2D,
    v: Tensor2D,
    o: Tensor2D,
    saved: Tensor[],
    layout: AttentionLayout,
  ): { dq: Tensor2D; dk: Tensor2D; dv: Tensor2D };
  /** The `count` greatest logits of each row, best first, as log-probabilities over the whole row: [n, count] each. */
  bestTokens(logits: Tensor2D, count: number): { logProbs: Tensor2D; ids: Tensor2D };
  /** A cache for the prompts of a packed batch, with room for `maxNewTokens` tokens of `beams` beams each. */
  cache(config: CacheConfig, batch: PackedBatch, beams: number, maxNewTokens: number): KeyValueCache;
  /** silu(g) * u: [t, f]. Source: Shazeer 2020. */
  swiGlu(g: Tensor2D, u: Tensor2D): Tensor2D;
  swiGluGrad(da: Tensor2D, g: Tensor2D, u: Tensor2D): { dg: Tensor2D; du: Tensor2D };
  /** Token losses [n] and softmax - onehot [n, v]. */
  crossEntropy(logits: Tensor2D, ids: Int32Array): { loss: Tensor; dLogits: Tensor2D };
}

export type { Tensor, Tensor2D, Tensor3D };
