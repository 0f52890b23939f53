import type { BaseModel } from './base-model.ts';
import { layerForward, type Pass } from './decoder.ts';
import type { Dropout } from './dropout.ts';
import type { Lora } from './lora.ts';
import type { PackedBatch } from './packing.ts';
import { rotationAt } from './rotary.ts';
import { type Tensor2D, tf, tidy } from './tf.ts';

/** A pass over a packed batch; `dispose` frees its tables and masks. */
export function packedPass(
  model: BaseModel,
  batch: Pick<PackedBatch, 'positions' | 'prefix' | 'segments'>,
  options: { lora?: Lora | undefined; dropout?: Dropout | undefined } = {},
): Pass & { dispose(): void } {
  const { heads, kvHeads, headSize } = model.config;
  const rotation = rotationAt(batch.positions, model.frequencies);
  const layout = model.kernels.layout({ prefix: batch.prefix, segments: batch.segments, heads, kvHeads, headSize });
  return {
    rotation,
    layout,
    attend: (_, q, k, v) => model.kernels.attention(q, k, v, layout),
    ...(options.lora && { lora: options.lora }),
    ...(options.dropout && { dropout: options.dropout }),
    dispose: () => {
      rotation.dispose();
      layout.dispose();
    },
  };
}

export interface ForwardOptions {
  /** Rows of the last layer's result that are read; all by default. */
  wanted?: Int32Array;
  /** Sees each layer's rotated keys and values, which are freed when it returns. */
  onLayer?: (layer: number, k: Tensor2D, v: Tensor2D) => void;
}

/** Hidden states before the final norm, [t, d] or [wanted, d], without keeping anything for a gradient. */
export function forwardHidden(
  model: BaseModel,
  ids: Int32Array,
  pass: Pass,
  { wanted, onLayer }: ForwardOptions = {},
): Tensor2D {
  const last = model.config.layers - 1;
  let x = model.kernels.rows(model.embedding, ids);
  for (let layer = 0; layer <= last; layer++) {
    const { y, saved } = layerForward(model, layer, x, pass, layer === last ? wanted : undefined);
    onLayer?.(layer, saved.k, saved.v);
    tf.dispose(saved as never);
    x = y;
  }
  return x;
}

/** Logits [n, v] of the last layer's hidden states [n, d]. */
export function logitsOf(model: BaseModel, hidden: Tensor2D): Tensor2D {
  return tidy(() => {
    const { y } = model.kernels.rmsNorm(hidden, model.finalNorm, model.config.normEps);
    return model.kernels.linear(y, [model.head])[0]!;
  });
}
