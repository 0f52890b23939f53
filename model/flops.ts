import { PROJECTIONS, type Projection, projectionShape } from './base-model.ts';
import type { LoraConfig } from './lora.ts';
import type { ModelConfig } from './model-config.ts';
import type { PackedBatch } from './packing.ts';

/**
 * Floating-point operations that a training step on a packed batch cannot do without, forward and backward. Weights of
 * the base model are frozen: 2 a weight and token forward, 2 for the gradient of the input. Padding, recomputation and
 * elementwise work count nothing.
 */
export function usefulFlops(
  config: ModelConfig,
  batch: PackedBatch,
  lora: Pick<LoraConfig, 'rank' | 'targets'>,
): number {
  const tokens = batch.ids.length;
  const linear = 4 * config.layers * linearWeights(config) * tokens;
  const head = 4 * config.vocabSize * config.hiddenSize * batch.lossIds.length;
  // Two products forward (scores, values) and four backward, of 2 operations an element.
  const attention = config.layers * 12 * config.heads * config.headSize * attendedPairs(batch);
  return linear + head + attention + config.layers * loraFlops(config, lora, tokens);
}

/** Weights of a layer's projections. */
export function linearWeights(config: ModelConfig): number {
  return PROJECTIONS.map((projection) => projectionShape(config, projection)).reduce(
    (sum, { out, in: width }) => sum + out * width,
    0,
  );
}

/** A and B are trained: two products forward, four backward. */
function loraFlops(
  config: ModelConfig,
  { rank, targets }: Pick<LoraConfig, 'rank' | 'targets'>,
  tokens: number,
): number {
  return targets
    .map((target) => projectionShape(config, target as Projection))
    .reduce((sum, { out, in: width }) => sum + 6 * rank * (out + width) * tokens, 0);
}

/** How many (query, key) pairs of a packed batch see each other. */
export function attendedPairs({ prefix, segments }: Pick<PackedBatch, 'prefix' | 'segments'>): number {
  /** Tokens one after another, the first of which sees itself and `before` others. */
  const run = (tokens: number, before: number) => tokens * before + (tokens * (tokens + 1)) / 2;
  return segments.reduce(
    (sum, { rest, target, distilled }) =>
      sum + run(rest, prefix) + run(target, prefix + rest) + run(distilled, prefix + rest),
    run(prefix, 0),
  );
}
