import type { FrozenMatrix, Kernels } from './kernels.ts';
import type { ModelConfig } from './model-config.ts';
import { inverseFrequencies } from './rotary.ts';
import { type Tensor1D, tf } from './tf.ts';

/** The projections of a decoder layer by their Hugging Face names. */
export const PROJECTIONS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] as const;
export type Projection = (typeof PROJECTIONS)[number];

export interface LayerWeights {
  inputNorm: Tensor1D;
  postNorm: Tensor1D;
  projections: Record<Projection, FrozenMatrix>;
  /** Biases of q, k and v (Qwen2). */
  biases: Partial<Record<Projection, Tensor1D>>;
  /** Norms of each head's query and key (Qwen3), [s]. */
  qNorm?: Tensor1D;
  kNorm?: Tensor1D;
}

/** The frozen base model on the device. */
export interface BaseModel {
  config: ModelConfig;
  kernels: Kernels;
  frequencies: Float32Array;
  embedding: FrozenMatrix;
  head: FrozenMatrix;
  finalNorm: Tensor1D;
  layers: LayerWeights[];
  dispose(): void;
}

/** Where weights come from, by Hugging Face names. */
export interface WeightSource {
  config: ModelConfig;
  tensor(name: string): Promise<{ shape: number[]; data: Float32Array }>;
}

/** Full name of a projection's module in the Hugging Face layout. */
export function moduleName(layer: number, projection: Projection): string {
  const block =
    projection === 'gate_proj' || projection === 'up_proj' || projection === 'down_proj' ? 'mlp' : 'self_attn';
  return `model.layers.${layer}.${block}.${projection}`;
}

/** Output and input width of a projection. */
export function projectionShape(config: ModelConfig, projection: Projection): { out: number; in: number } {
  const query = config.heads * config.headSize;
  const keyValue = config.kvHeads * config.headSize;
  switch (projection) {
    case 'q_proj':
      return { out: query, in: config.hiddenSize };
    case 'k_proj':
    case 'v_proj':
      return { out: keyValue, in: config.hiddenSize };
    case 'o_proj':
      return { out: config.hiddenSize, in: query };
    case 'gate_proj':
    case 'up_proj':
      return { out: config.ffnSize, in: config.hiddenSize };
    case 'down_proj':
      return { out: config.hiddenSize, in: config.ffnSize };
  }
}

/** Loads every weight once; tensor by tensor, so that the host never holds the model twice. */
export async function loadBaseModel(source: WeightSource, kernels: Kernels): Promise<BaseModel> {
  const { config } = source;
  const vector = async (name: string) => tf.tensor1d((await source.tensor(name)).data);
  const matrix = async (name: string) => {
    const { data, shape } = await source.tensor(name);
    return kernels.freeze(data, shape[0] as number, shape[1] as number);
  };
  const embedding = await matrix('model.embed_tokens.weight');
  const head = config.tiedEmbeddings ? embedding : await matrix('lm_head.weight');
  const layers: LayerWeights[] = [];
  for (let i = 0; i < config.layers; i++) {
    const projections = {} as Record<Projection, FrozenMatrix>;
    for (const projection of PROJECTIONS) projections[projection] = await matrix(`${moduleName(i, projection)}.weight`);
    const biases: Partial<Record<Projection, Tensor1D>> = {};
    if (config.attentionBias)
      for (const projection of ['q_proj', 'k_proj', 'v_proj'] as const)
        biases[projection] = await vector(`${moduleName(i, projection)}.bias`);
    const norms = config.qkNorm
      ? {
          qNorm: await vector(`model.layers.${i}.self_attn.q_norm.weight`),
          kNorm: await vector(`model.layers.${i}.self_attn.k_norm.weight`),
        }
      : {};
    layers.push({
      inputNorm: await vector(`model.layers.${i}.input_layernorm.weight`),
      postNorm: await vector(`model.layers.${i}.post_attention_layernorm.weight`),
      projections,
      biases,
      ...norms,
    });
  }
  const finalNorm = await vector('model.norm.weight');
  return {
    config,
    kernels,
    frequencies: inverseFrequencies(config),
    embedding,
    head,
    finalNorm,
    layers,
    dispose: () => {
      embedding.dispose();
      if (head !== embedding) head.dispose();
      finalNorm.dispose();
      for (const layer of layers) {
        for (const projection of PROJECTIONS) layer.projections[projection].dispose();
        const { projections: _, ...vectors } = layer;
        tf.dispose(vectors);
      }
    },
  };
}
