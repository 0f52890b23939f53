import type { CacheConfig, KeyValueCache } from './kernels.ts';
import { type PackedBatch, segmentLength } from './packing.ts';
import { type Tensor2D, tf } from './tf.ts';
import { attentionWeights, type Pairs, uploadPairs, weightedRows } from './webgpu-attention.ts';
import { run } from './webgpu-program.ts';

/**
 * A cache that never moves: per layer the rows of the packed prompts, then a row for every token that a beam generates. A
 * beam is a list of rows, so reordering beams is reordering small integers.
 */
export class WebgpuCache implements KeyValueCache {
  private readonly config: CacheConfig;
  private readonly batch: PackedBatch;
  private readonly beams: number;
  /** Per layer [tokens + maxNewTokens * prompts * beams, k*s]. */
  private readonly keys: Tensor2D[] = [];
  private readonly values: Tensor2D[] = [];
  private readonly rows: number;
  /** Segments of the prompts that still run, and the rows that each of their beams has generated. */
  private open: number[];
  private paths: number[][] = [];
  /** The row that the next token is written to. */
  private next: number;
  private pairs: Pairs | undefined;

  constructor(config: CacheConfig, batch: PackedBatch, beams: number, maxNewTokens: number) {
    this.config = config;
    this.batch = batch;
    this.beams = beams;
    this.open = batch.segments.map((_, i) => i);
    this.next = batch.ids.length;
    this.rows = batch.ids.length + maxNewTokens * this.open.length * beams;
  }

  addPrompts(k: Tensor2D, v: Tensor2D): void {
    for (const [cache, x] of [
      [this.keys, k],
      [this.values, v],
    ] as const) {
      const whole = tf.keep(tf.fill([this.rows, x.shape[1]], 0)) as Tensor2D;
      writeRows(x, whole, 0);
      cache.push(whole);
    }
  }

  advance(prompts: Int32Array, origins: Int32Array): void {
    const written = this.paths.length;
    this.open = Array.from(prompts, (place) => this.open[place]!);
    this.next += written;
    const rows = this.open.length * this.beams;
    this.paths = Array.from({ length: rows }, (_, row) => [...(this.paths[origins[row] ?? -1] ?? []), this.next + row]);
    this.disposePairs();
    this.pairs = uploadPairs(
      this.paths.map((path, row) => {
        const segment = this.batch.segments[this.open[Math.floor(row / this.beams)]!]!;
        const own = Array.from({ length: segmentLength(segment) }, (_, i) => segment.start + i);
        return [...Array.from({ length: this.batch.prefix }, (_, i) => i), ...own, ...path];
      }),
    );
  }

  attend(layer: number, q: Tensor2D, k: Tensor2D, v: Tensor2D): Tensor2D {
    const [keys, values] = [this.keys[layer]!, this.values[layer]!];
    writeRows(k, keys, this.next);
    writeRows(v, values, this.next);
    const weights = attentionWeights(q, keys, this.pairs!, this.config);
    const o = weightedRows(weights, values, this.pairs!, this.config);
    weights.dispose();
    return o;
  }

  private disposePairs(): void {
    if (this.pairs) tf.dispose([this.pairs.starts, this.pairs.keys]);
    this.pairs = undefined;
  }

  dispose(): void {
    this.disposePairs();
    tf.dispose([...this.keys, ...this.values]);
  }
}

/** Writes x over the rows of `whole` from `row` on. */
function writeRows(x: Tensor2D, whole: Tensor2D, row: number): void {
  run({
    name: 'writeRows',
    inputs: { x },
    shape: x.shape,
    whole: { offset: row * x.shape[1] },
    code: 'result[uniforms.offset + index] = x[index];',
    into: whole,
  });
}
