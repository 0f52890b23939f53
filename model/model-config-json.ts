import { SoftflowError } from '../errors.ts';
import type { Architecture, ModelConfig, RopeScaling } from './model-config.ts';

const CLASSES: Record<Architecture, string> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
  mistral: 'MistralForCausalLM',
};

/**
 * A model's shape as Hugging Face's `config.json` for float32 weights; `parseModelConfig` gives the shape back.
 * @param file names the model in errors
 * @throws SoftflowError `MODEL_UNSUPPORTED` for rope factors of a GGUF file, which `config.json` has no field for
 */
export function encodeModelConfig(config: ModelConfig, file: string): Record<string, unknown> {
  return {
    architectures: [CLASSES[config.architecture]],
    model_type: config.architecture,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headSize,
    intermediate_size: config.ffnSize,
    vocab_size: config.vocabSize,
    hidden_act: 'silu',
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    rope_scaling: config.ropeScaling ? ropeScaling(config.ropeScaling, file) : null,
    max_position_embeddings: config.maxPosition,
    tie_word_embeddings: config.tiedEmbeddings,
    attention_bias: config.attentionBias,
    ...(config.slidingWindow === undefined ? {} : { sliding_window: config.slidingWindow, use_sliding_window: true }),
    ...(config.bosTokenId === undefined ? {} : { bos_token_id: config.bosTokenId }),
    ...(config.eosTokenIds.length === 0
      ? {}
      : { eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds }),
    torch_dtype: 'float32',
  };
}

function ropeScaling(scaling: RopeScaling, file: string): Record<string, unknown> {
  if (scaling.type === 'linear') return { rope_type: 'linear', factor: scaling.factor };
  if (scaling.type === 'llama3')
    return {
      rope_type: 'llama3',
      factor: scaling.factor,
      low_freq_factor: scaling.lowFreqFactor,
      high_freq_factor: scaling.highFreqFactor,
      original_max_position_embeddings: scaling.originalMaxPosition,
    };
  throw new SoftflowError(
    'MODEL_UNSUPPORTED',
    `${file} gives each rotary frequency its own divisor, for which config.json has no field. Train on the model's Hugging Face folder to export it merged, or export the adapter (--format peft).`,
    { details: { file } },
  );
}
