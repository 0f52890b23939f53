import type { CacheConfig, KeyValueCache } from './kernels.ts';
import { type PackedBatch, segmentLength } from './packing.ts';
import { type Tensor, type Tensor2D, type Tensor4D, tf, tidy } from './tf.ts';

/**
 * Keys and values of a tile of prompts and of the tokens that their beams have generated.
 * Legend: p prompts, w beams of a prompt, k kv heads, g query heads of one kv head, s head size,
 * l longest prompt, n generated tokens. Row `r * w + b` is beam b of prompt r.
 */
export class PlainCache implements KeyValueCache {
  private readonly config: CacheConfig;
  private readonly beams: number;
  /** Per layer [p, k, l, s]: shared by a prompt's beams. */
  private promptKeys: Tensor4D[] = [];
  private promptValues: Tensor4D[] = [];
  /** 0 or -1e9, [p, 1, 1, l]. */
  private promptMask: Tensor4D;
  /** Per layer [p * w, k, n, s]. */
  private keys: (Tensor4D | undefined)[];
  private values: (Tensor4D | undefined)[];
  /** Flat row of each prompt's token at each place, [p * l]. */
  private readonly places: Int32Array;
  private readonly longest: number;

  constructor(config: CacheConfig, batch: PackedBatch, beams: number) {
    this.config = config;
    this.beams = beams;
    const lengths = batch.segments.map((segment) => batch.prefix + segmentLength(segment));
    this.longest = Math.max(...lengths);
    this.places = new Int32Array(lengths.length * this.longest);
    const mask = new Float32Array(lengths.length * this.longest).fill(-1e9);
    batch.segments.forEach((segment, r) => {
      const at = r * this.longest;
      for (let i = 0; i < (lengths[r] as number); i++)
        this.places[at + i] = i < batch.prefix ? i : segment.start + i - batch.prefix;
      mask.fill(0, at, at + (lengths[r] as number));
    });
    this.promptMask = tf.tensor4d(mask, [lengths.length, 1, 1, this.longest]);
    this.keys = new Array(config.layers).fill(undefined);
    this.values = new Array(config.layers).fill(undefined);
  }

  /** Takes a layer's keys and values of the whole packed batch, [t, k * s]. */
  addPrompts(k: Tensor2D, v: Tensor2D): void {
    this.promptKeys.push(this.padded(k));
    this.promptValues.push(this.padded(v));
  }

  private padded(x: Tensor2D): Tensor4D {
    const { kvHeads, headSize } = this.config;
    return tidy(() => {
      const rows = tf.gather(x, tf.tensor1d(this.places, 'int32')); // [p * l, k * s]
      return tf.transpose(tf.reshape(rows, [-1, this.longest, kvHeads, headSize]), [0, 2, 1, 3]) as Tensor4D;
    });
  }

  /** Attention of one new token a beam over its prompt and what it has generated; q [p*w, h*s], k and v [p*w, k*s]. */
  attend(layer: number, q: Tensor2D, k: Tensor2D, v: Tensor2D): Tensor2D {
    const { kvHeads, headSize, heads } = this.config;
    const groups = heads / kvHeads;
    const rows = q.shape[0];
    const prompts = rows / this.beams;
    const keys = this.append(this.keys, layer, k);
    const values = this.append(this.values, layer, v);
    return tidy(() => {
      const query = tf.mul(tf.reshape(q, [rows, kvHeads, groups, headSize]), 1 / Math.sqrt(headSize));
      const byPrompt = this.toPrompts(query, prompts, groups); // [p, k, w*g, s]
      const l = this.longest;
      const promptScores = tf.add(tf.matMul(byPrompt, this.promptKeys[layer] as Tensor, false, true), this.promptMask);
      const ownScores = tf.matMul(query, keys, false, true); // [p*w, k, g, n]
      const n = ownScores.shape[3] as number;
      const scores = tf.concat([this.fromPrompts(promptScores, prompts, groups, l), ownScores], 3); // [p*w, k, g, l+n]
      const weights = tf.softmax(scores);
      const [promptWeights, ownWeights] = tf.split(weights, [l, n], 3) as [Tensor, Tensor];
      const fromPrompt = tf.matMul(this.toPrompts(promptWeights, prompts, groups), this.promptValues[layer] as Tensor);
      const sum = tf.add(this.fromPrompts(fromPrompt, prompts, groups, headSize), tf.matMul(ownWeights, values));
      return tf.reshape(sum, [rows, heads * headSize]) as Tensor2D;
    });
  }

  /** [p*w, k, g, x] -> [p, k, w*g, x]. */
  private toPrompts(x: Tensor, prompts: number, groups: number): Tensor {
    const width = x.shape[3] as number;
    const split = tf.reshape(x, [prompts, this.beams, this.config.kvHeads, groups, width]);
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3, 4]), [prompts, this.config.kvHeads, -1, width]);
  }

  /** [p, k, w*g, x] -> [p*w, k, g, x]. */
  private fromPrompts(x: Tensor, prompts: number, groups: number, width: number): Tensor {
    const split = tf.reshape(x, [prompts, this.config.kvHeads, this.beams, groups, width]);
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3, 4]), [-1, this.config.kvHeads, groups, width]);
  }

  private append(cache: (Tensor4D | undefined)[], layer: number, x: Tensor2D): Tensor4D {
    const { kvHeads, headSize } = this.config;
    const before = cache[layer];
    const added = tidy(() => {
      const token = tf.reshape(x, [-1, kvHeads, 1, headSize]) as Tensor4D;
      return before === undefined ? token.clone() : (tf.concat([before, token], 2) as Tensor4D);
    });
    before?.dispose();
    cache[layer] = tf.keep(added);
    return added;
  }

  advance(prompts: Int32Array, origins: Int32Array): void {
    this.replace(this.keys, origins);
    this.replace(this.values, origins);
    if (prompts.length === this.promptMask.shape[0]) return;
    this.replace(this.promptKeys, prompts);
    this.replace(this.promptValues, prompts);
    const mask = this.promptMask;
    this.promptMask = tidy(() => tf.gather(mask, tf.tensor1d(prompts, 'int32')) as Tensor4D);
    mask.dispose();
  }

  private replace(cache: (Tensor4D | undefined)[], rows: Int32Array): void {
    cache.forEach((tensor, layer) => {
      if (tensor === undefined) return;
      cache[layer] = tidy(() => tf.gather(tensor, tf.tensor1d(rows, 'int32')) as Tensor4D);
      tensor.dispose();
    });
  }

  dispose(): void {
    tf.dispose([this.promptKeys, this.promptValues, this.keys, this.values, this.promptMask] as never);
  }
}
