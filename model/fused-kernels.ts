import type { NativeOps, OpAttribute } from './backend.ts';
import type { DropoutRows } from './dropout.ts';
import type { AttentionLayout, CacheConfig, Kernels, KeyValueCache } from './kernels.ts';
import { packedMatrices } from './packed-matrices.ts';
import { type PackedBatch, segmentLength } from './packing.ts';
import { type Tensor, type Tensor2D, tf, tidy } from './tf.ts';

interface FusedLayout extends AttentionLayout {
  /** int32 [n, 5]: start, rest, target, distilled, prefix; see setup/native/softflow_ops.cc. */
  parts: Tensor2D;
}

/** Whether the addon has softflow's own ops; they compute on the CPU, so a GPU takes the plain ones. */
export function canFuse(ops: NativeOps): boolean {
  return !ops.gpu && ops.has('SoftflowRmsNorm');
}

/** The attention ops take heads of whole vectors, as nearly every model's are; the others get the base's attention. */
function fits({ headSize }: { headSize: number }): boolean {
  return headSize % 16 === 0;
}

/** Keys and tokens of a dropout, empty where there is none. */
function rowsOf(dropout: DropoutRows | undefined): Tensor[] {
  return [dropout?.keys ?? [], dropout?.tokens ?? []].map((values) => tf.tensor1d(values, 'int32'));
}

/**
 * The kernels as fused ops of the addon, each one pass over memory; what they leave out is taken from
 * `base`. Source: setup/native.
 */
export function fusedKernels(ops: NativeOps, base: Kernels, precision: 'f32' | 'bf16'): Kernels {
  const { attribute } = ops;
  const real = (name: string, value: number): OpAttribute => ({ name, type: attribute.float, value });
  const whole = (name: string, value: number): OpAttribute => ({ name, type: attribute.int, value });
  const call = (name: string, attributes: OpAttribute[], inputs: Tensor[], outputs: number): Tensor2D[] =>
    ops.run(name, attributes, inputs.map(ops.idOf), outputs).map((id) => ops.tensor(id) as Tensor2D);
  const headAttributes = ({ heads, kvHeads, headSize }: Omit<CacheConfig, 'layers'>) => [
    whole('heads', heads),
    whole('kv_heads', kvHeads),
    whole('head_size', headSize),
  ];
  const rope = (x: Tensor2D, cos: Tensor2D, sin: Tensor2D, heads: number, sign: number) =>
    call('SoftflowRope', [whole('heads', heads), real('sign', sign)], [x, cos, sin], 1)[0]!;
  const rate = (dropout: DropoutRows | undefined): OpAttribute => {
    const value = String(dropout?.rate ?? 0);
    return { name: 'rate', type: attribute.string, value };
  };
  return {
    ...base,
    ...packedMatrices(ops, precision),
    name: base.name === 'plain' ? 'fused' : `fused ${base.name}`,
    rmsNorm(x, weight, eps) {
      const [y, r] = call('SoftflowRmsNorm', [real('eps', eps)], [x, weight], 2);
      return { y: y!, r: r! };
    },
    addRmsNorm(x, delta, weight, eps) {
      const [sum, y, r] = call('SoftflowAddRmsNorm', [real('eps', eps)], [x, delta, weight], 3);
      return { sum: sum!, y: y!, r: r! };
    },
    rmsNormGrad: (dys, x, weight, r, residual) =>
      tidy(() => {
        const rest: Tensor = residual ?? tf.zeros([0]);
        return call('SoftflowRmsNormGrad', [whole('N', dys.length)], [x, weight, r, rest, ...dys], 1)[0]!;
      }),
    lowRank: (y, x, { a, b }, scale, dropout) =>
      tidy(() => {
        const attributes = [real('scale', scale), rate(dropout)];
        const [sum, down] = call('SoftflowLowRank', attributes, [y, x, a, b, ...rowsOf(dropout)], 2);
        return { sum: sum!, down: down! };
      }),
    lowRankGrad: (dy, x, down, { a, b }, scale, dropout) =>
      tidy(() => {
        const attributes = [real('scale', scale), rate(dropout)];
        const inputs = [dy, x, down, a, b, ...rowsOf(dropout)];
        const [dx, dA, dB] = call('SoftflowLowRankGrad', attributes, inputs, 3);
        return { dx: dx!, a: dA!, b: dB! };
      }),
    bestTokens(logits, count) {
      const [logProbs, ids] = call('SoftflowBestTokens', [whole('count', count)], [logits], 2);
      return { logProbs: logProbs!, ids: ids! };
    },
    crossEntropy: (logits, ids) =>
      tidy(() => {
        const [loss, dLogits] = call('SoftflowCrossEntropy', [], [logits, tf.tensor1d(ids, 'int32')], 2);
        return { loss: loss!, dLogits: dLogits! };
      }),
    rope: (x, { cos, sin }, heads) => rope(x, cos, sin, heads, 1),
    ropeGrad: (dy, { cos, sin }, heads) => rope(dy, cos, sin, heads, -1),
    layout(shape): AttentionLayout {
      if (!fits(shape)) return base.layout(shape);
      const rows = shape.segments.map(({ start, rest, target, distilled }) => [
        start,
        rest,
        target,
        distilled,
        shape.prefix,
      ]);
      if (shape.prefix > 0) rows.unshift([0, shape.prefix, 0, 0, 0]);
      const parts = tf.tensor2d(rows, [rows.length, 5], 'int32');
      const layout: FusedLayout = { ...shape, parts, dispose: () => parts.dispose() };
      return layout;
    },
    attention(q, k, v, layout) {
      if (!fits(layout)) return base.attention(q, k, v, layout);
      const inputs = [q, k, v, (layout as FusedLayout).parts];
      const [o, lse] = call('SoftflowAttention', headAttributes(layout), inputs, 2);
      return { o: o!, saved: [lse!] };
    },
    attentionGrad(dO, q, k, v, o, saved, layout) {
      if (!fits(layout)) return base.attentionGrad(dO, q, k, v, o, saved, layout);
      const inputs = [dO, q, k, v, o, saved[0]!, (layout as FusedLayout).parts];
      const [dq, dk, dv] = call('SoftflowAttentionGrad', headAttributes(layout), inputs, 3);
      return { dq: dq!, dk: dk!, dv: dv! };
    },
    cache(config, batch, beams, maxNewTokens) {
      if (!fits(config)) return base.cache(config, batch, beams, maxNewTokens);
      const attributes = [...headAttributes(config), whole('prefix', batch.prefix)];
      const attention = (inputs: Tensor[]) => call('SoftflowDecodeAttention', attributes, inputs, 1)[0]!;
      return new FusedCache(config, batch, beams, maxNewTokens, attention);
    },
    swiGlu: (g, u) => call('SoftflowSwiGlu', [], [g, u], 1)[0]!,
    swiGluGrad(da, g, u) {
      const [dg, du] = call('SoftflowSwiGluGrad', [], [da, g, u], 2);
      return { dg: dg!, du: du! };
    },
  };
}

/**
 * A cache that never moves: the prompts' keys stay as the packed pass left them, and each generated token's keys stay
 * in the slot where they were written. A beam is a path of slots, so reordering beams is reordering small integers.
 */
class FusedCache implements KeyValueCache {
  private readonly attention: (inputs: Tensor[]) => Tensor2D;
  private readonly batch: PackedBatch;
  private readonly beams: number;
  private readonly promptKeys: Tensor2D[] = [];
  private readonly promptValues: Tensor2D[] = [];
  /** Per layer [maxNewTokens, prompts * beams, k * s]. */
  private readonly keys: Tensor[];
  private readonly values: Tensor[];
  /** Segments of the prompts that still run. */
  private open: number[];
  /** Slot of each row's token at each step. */
  private paths: number[][] = [];
  private step: { parts: Tensor; ancestors: Tensor } | undefined;

  constructor(
    config: CacheConfig,
    batch: PackedBatch,
    beams: number,
    maxNewTokens: number,
    attention: (inputs: Tensor[]) => Tensor2D,
  ) {
    this.attention = attention;
    this.batch = batch;
    this.beams = beams;
    this.open = batch.segments.map((_, i) => i);
    const shape: [number, number, number] = [maxNewTokens, this.open.length * beams, config.kvHeads * config.headSize];
    this.keys = Array.from({ length: config.layers }, () => tf.zeros(shape));
    this.values = Array.from({ length: config.layers }, () => tf.zeros(shape));
  }

  addPrompts(k: Tensor2D, v: Tensor2D): void {
    this.promptKeys.push(k.clone());
    this.promptValues.push(v.clone());
  }

  advance(prompts: Int32Array, origins: Int32Array): void {
    this.open = Array.from(prompts, (place) => this.open[place]!);
    const rows = this.open.length * this.beams;
    // Row r of a step writes slot r: rows only become fewer, so slots never run out.
    this.paths = Array.from({ length: rows }, (_, row) => [...(this.paths[origins[row] ?? -1] ?? []), row]);
    tf.dispose(this.step as never);
    const parts = this.open.flatMap((segment, place) => {
      const { start } = this.batch.segments[segment]!;
      return [place * this.beams, this.beams, start, segmentLength(this.batch.segments[segment]!)];
    });
    this.step = {
      parts: tf.tensor2d(parts, [this.open.length, 4], 'int32'),
      ancestors: tf.tensor2d(this.paths, [rows, this.paths[0]!.length], 'int32'),
    };
  }

  attend(layer: number, q: Tensor2D, k: Tensor2D, v: Tensor2D): Tensor2D {
    const { parts, ancestors } = this.step!;
    const prompt = [this.promptKeys[layer]!, this.promptValues[layer]!];
    return this.attention([q, k, v, ...prompt, this.keys[layer]!, this.values[layer]!, parts, ancestors]);
  }

  dispose(): void {
    tf.dispose([this.promptKeys, this.promptValues, this.keys, this.values, this.step] as never);
  }
}
