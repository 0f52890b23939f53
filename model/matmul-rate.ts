import { nativeOps } from './backend.ts';
import { PROJECTIONS, projectionShape } from './base-model.ts';
import type { ModelConfig } from './model-config.ts';
import { type Tensor2D, tf } from './tf.ts';

export type Precision = 'f32' | 'bf16';

interface Product {
  /** Runs x . W^T once and waits for it. */
  run(): void;
  flops: number;
  dispose(): void;
}

/**
 * The library's own rate of matrix products (FLOP/s) on the shapes of a decoder layer, forward and backward, weighted by
 * their work: the machine's limit, which `mfu` is measured against.
 * @param tokens rows of the activations
 * @param seconds how long to measure, about; of each product the median of three or more times counts
 */
export function matmulRate(config: ModelConfig, precision: Precision, tokens: number, seconds = 0.3): number {
  const products = PROJECTIONS.flatMap((projection) => {
    const { out, in: width } = projectionShape(config, projection);
    return [product(precision, tokens, width, out, true), product(precision, tokens, out, width, false)];
  });
  for (const { run } of products) run();
  const times = products.map((): number[] => []);
  const end = performance.now() + seconds * 1000;
  do {
    products.forEach(({ run }, i) => {
      const began = performance.now();
      run();
      times[i]!.push(performance.now() - began);
    });
  } while (times[0]!.length < 3 || performance.now() < end);
  for (const { dispose } of products) dispose();
  const flops = products.reduce((sum, each) => sum + each.flops, 0);
  return flops / (times.reduce((sum, each) => sum + median(each), 0) / 1000);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/** x [rows, from] times a weight, which lies as [to, from] where it is transposed, else as [from, to]. */
function product(precision: Precision, rows: number, from: number, to: number, transposed: boolean): Product {
  const flops = 2 * rows * from * to;
  const x = tf.randomUniform([rows, from], -1, 1) as Tensor2D;
  const weight = tf.randomUniform(transposed ? [to, from] : [from, to], -1, 1) as Tensor2D;
  const ops = precision === 'bf16' ? nativeOps() : undefined;
  if (ops === undefined)
    return {
      flops,
      run: () => {
        const y = tf.matMul(x, weight, false, transposed);
        // A backend may compute later than it is asked; one number makes it finish.
        const one = tf.slice(y, [0, 0], [1, 1]);
        one.dataSync();
        tf.dispose([y, one]);
      },
      dispose: () => tf.dispose([x, weight]),
    };
  const { type, attribute } = ops;
  const cast = (tensor: Tensor2D) => {
    const attributes = [
      { name: 'SrcT', type: attribute.type, value: type.float },
      { name: 'DstT', type: attribute.type, value: type.bfloat16 },
      { name: 'Truncate', type: attribute.bool, value: false },
    ];
    const id = ops.run('Cast', attributes, [ops.idOf(tensor)], 1)[0]!;
    tensor.dispose();
    return id;
  };
  const inputs = [cast(x), cast(weight)];
  const attributes = [
    { name: 'T', type: attribute.type, value: type.bfloat16 },
    { name: 'transpose_a', type: attribute.bool, value: false },
    { name: 'transpose_b', type: attribute.bool, value: transposed },
  ];
  return {
    flops,
    run: () => ops.free(ops.run('MatMul', attributes, inputs, 1)[0]!),
    dispose: () => inputs.forEach(ops.free),
  };
}

const rates = new Map<string, number>();

/** More rows change the rate no longer, but the calibration's time. */
const MAX_ROWS = 1024;

/**
 * `matmulRate` of the native library, kept in this process for each precision and model shape; undefined on
 * other backends, where it would take too long.
 * @param reached FLOP/s of real work: a rate below it was measured while the machine was busy, so it is measured again
 */
export function knownMatmulRate(
  config: ModelConfig,
  precision: Precision,
  tokens: number,
  reached = 0,
): number | undefined {
  if (nativeOps() === undefined) return undefined;
  const { layers, hiddenSize, ffnSize, heads, kvHeads, headSize } = config;
  const key = [precision, layers, hiddenSize, ffnSize, heads, kvHeads, headSize].join('/');
  const known = rates.get(key) ?? 0;
  if (known > reached) return known;
  const rate = Math.max(known, matmulRate(config, precision, Math.max(1, Math.min(tokens, MAX_ROWS))));
  rates.set(key, rate);
  return rate;
}
