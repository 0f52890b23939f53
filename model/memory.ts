import { PROJECTIONS, type Projection, projectionShape } from './base-model.ts';
import { linearWeights } from './flops.ts';
import type { LoraConfig } from './lora.ts';
import type { ModelConfig } from './model-config.ts';

const FLOAT = 4;

/** Bytes of the frozen weights on the device: matrices in their precision, norms in float32. */
export function weightBytes(config: ModelConfig, precision: 'f32' | 'bf16'): number {
  const { vocabSize, hiddenSize, layers, tiedEmbeddings } = config;
  const embeddings = vocabSize * hiddenSize * (tiedEmbeddings ? 1 : 2);
  const matrices = embeddings + layers * linearWeights(config);
  return matrices * (precision === 'bf16' ? 2 : FLOAT) + (2 * layers + 1) * hiddenSize * FLOAT;
}

/**
 * Bytes that a training pass keeps for its gradient (`SavedLayer` of decoder.ts), and of the logits with their softmax
 * and gradient.
 *
 * @param tokens of the packed micro-batch
 * @param lossTokens rows that predict a response token
 */
export function trainingBytes(
  config: ModelConfig,
  lora: Pick<LoraConfig, 'rank' | 'targets'>,
  tokens: number,
  lossTokens: number,
): number {
  const width = (projection: Projection) => projectionShape(config, projection);
  const kept = PROJECTIONS.filter((projection) => projection !== 'down_proj' && projection !== 'o_proj');
  // q, k, v, gate, up; the attention's result; the two sums of the residual stream.
  const layer = kept.reduce((sum, each) => sum + width(each).out, 0) + width('o_proj').in + 2 * config.hiddenSize;
  const adapter = lora.targets.reduce((sum, target) => sum + width(target as Projection).in + lora.rank, 0);
  const logits = 3 * lossTokens * config.vocabSize;
  return FLOAT * (config.layers * tokens * (layer + adapter) + logits);
}

/**
 * Bytes of a tile of generation: keys and values of its prompts and of what its beams write, one layer at work, and the
 * logits of all beams.
 */
export function generationBytes(
  config: ModelConfig,
  tile: { promptTokens: number; beams: number; maxNewTokens: number },
): number {
  const keyValues = 2 * config.kvHeads * config.headSize * config.layers;
  const cache = keyValues * (tile.promptTokens + tile.beams * tile.maxNewTokens);
  return FLOAT * (cache + layerAtWork(config, tile.promptTokens) + 2 * tile.beams * config.vocabSize);
}

/** Bytes of a tile of texts to embed. */
export const embeddingBytes = (config: ModelConfig, tokens: number): number => FLOAT * layerAtWork(config, tokens);

/** Numbers alive inside one layer without a gradient. */
function layerAtWork({ hiddenSize, ffnSize, heads, kvHeads, headSize }: ModelConfig, tokens: number): number {
  return tokens * (4 * hiddenSize + 3 * ffnSize + (2 * heads + 2 * kvHeads) * headSize);
}
