import * as z from 'zod';
import { SoftflowError } from '../errors.ts';
import type { GgufMetadata, GgufValue } from './gguf.ts';

export const ARCHITECTURES = ['llama', 'qwen2', 'qwen3', 'mistral'] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** How rotary frequencies are stretched for contexts longer than the model was first trained on. */
export type RopeScaling =
  | {
      type: 'llama3';
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      /** Tokens. */
      originalMaxPosition: number;
    }
  | { type: 'linear'; factor: number }
  /** Each frequency's own divisor (`headSize / 2` numbers), as GGUF stores the Llama 3 scaling. */
  | { type: 'factors'; factors: number[] };

/** A decoder's shape, the same for every source of weights. */
export interface ModelConfig {
  architecture: Architecture;
  /** d: width of the residual stream. */
  hiddenSize: number;
  layers: number;
  /** H: query heads. */
  heads: number;
  /** K: key and value heads; divides H. */
  kvHeads: number;
  /** D: width of one head; even. H * D need not be d. */
  headSize: number;
  ffnSize: number;
  vocabSize: number;
  /** Epsilon of RMSNorm. */
  normEps: number;
  ropeTheta: number;
  ropeScaling?: RopeScaling;
  /** Whether the output head is the embedding table itself. */
  tiedEmbeddings: boolean;
  /** Biases on q, k and v (Qwen2). */
  attentionBias: boolean;
  /** RMSNorm over each head of q and k before the rotation (Qwen3). */
  qkNorm: boolean;
  /** Longest sequence in tokens. */
  maxPosition: number;
  bosTokenId?: number;
  eosTokenIds: number[];
  /** Tokens a query looks back over, itself included; absent when all. */
  slidingWindow?: number;
}

const size = z
  .number()
  .int()
  .positive()
  .max(2 ** 31);
const tokenId = z.number().int().nonnegative();
const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: size.optional(),
  partial_rotary_factor: z.number().optional(),
});

/** The fields of a Hugging Face `config.json` that matter here; the defaults are those of transformers. */
const huggingFaceConfig = z.looseObject({
  model_type: z.string(),
  hidden_size: size,
  num_hidden_layers: size.max(4096),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  intermediate_size: size,
  vocab_size: size,
  rms_norm_eps: z.number().positive().max(1).default(1e-6),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
  partial_rotary_factor: z.number().nullish(),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  hidden_act: z.string().default('silu'),
  max_position_embeddings: size.default(2048),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
  sliding_window: size.nullish(),
  use_sliding_window: z.boolean().nullish(),
  quantization_config: z.unknown().optional(),
});

type HuggingFaceConfig = z.infer<typeof huggingFaceConfig>;
type RopeFields = z.infer<typeof rope>;

/**
 * Reads a Hugging Face `config.json`, in its older (`rope_theta`, `rope_scaling`) and newer (`rope_parameters`) form.
 * `file` names the source in errors. Throws `MODEL_CONFIG_INVALID` with all faults at once, and `MODEL_UNSUPPORTED`
 * for what the decoder cannot compute.
 */
export function parseModelConfig(json: unknown, file = 'config.json'): ModelConfig {
  refuseArchitecture((json as { model_type?: unknown } | null)?.model_type, file);
  const parsed = huggingFaceConfig.safeParse(json);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`);
    throw invalid(file, faults);
  }
  const fields = parsed.data;
  refuseVariants(fields, file);
  const architecture = fields.model_type as Architecture;
  const ropeFields: RopeFields = fields.rope_parameters ?? fields.rope_scaling ?? {};
  const ropeScaling = readRopeScaling(ropeFields, file);
  const slidingWindow = readSlidingWindow(fields, architecture);
  const config: ModelConfig = {
    architecture,
    hiddenSize: fields.hidden_size,
    layers: fields.num_hidden_layers,
    heads: fields.num_attention_heads,
    kvHeads: fields.num_key_value_heads ?? fields.num_attention_heads,
    headSize: fields.head_dim ?? fields.hidden_size / fields.num_attention_heads,
    ffnSize: fields.intermediate_size,
    vocabSize: fields.vocab_size,
    normEps: fields.rms_norm_eps,
    ropeTheta: ropeFields.rope_theta ?? fields.rope_theta ?? 10_000,
    ...(ropeScaling && { ropeScaling }),
    tiedEmbeddings: fields.tie_word_embeddings,
    attentionBias: architecture === 'qwen2',
    qkNorm: architecture === 'qwen3',
    maxPosition: fields.max_position_embeddings,
    ...(typeof fields.bos_token_id === 'number' && { bosTokenId: fields.bos_token_id }),
    eosTokenIds: [fields.eos_token_id ?? []].flat(),
    ...(slidingWindow && { slidingWindow }),
  };
  return checked(config, file);
}

function refuseArchitecture(name: unknown, file: string): void {
  if (typeof name !== 'string' || (ARCHITECTURES as readonly string[]).includes(name)) return;
  throw unsupported(file, `the architecture ${JSON.stringify(name)}`, ARCHITECTURES.join(', '));
}

function refuseVariants(fields: HuggingFaceConfig, file: string): void {
  if (fields.hidden_act !== 'silu') throw unsupported(file, `hidden_act ${JSON.stringify(fields.hidden_act)}`, 'silu');
  if (fields.mlp_bias) throw unsupported(file, 'mlp_bias true', 'false');
  if (fields.attention_bias && fields.model_type !== 'qwen2') throw unsupported(file, 'attention_bias true', 'false');
  const partial = fields.partial_rotary_factor ?? fields.rope_parameters?.partial_rotary_factor ?? 1;
  if (partial !== 1) throw unsupported(file, `partial_rotary_factor ${partial}`, '1');
  if (fields.quantization_config !== undefined)
    throw unsupported(file, 'quantization_config', 'F32, F16 or BF16 weights');
}

function readRopeScaling(fields: RopeFields, file: string): RopeScaling | undefined {
  const type = fields.rope_type ?? fields.type ?? 'default';
  if (type === 'default') return undefined;
  const missing = (names: (keyof RopeFields & string)[]) => {
    const absent = names.filter((name) => fields[name] === undefined);
    if (absent.length > 0)
      throw invalid(
        file,
        absent.map((name) => `rope scaling ${type}: ${name} is missing`),
      );
  };
  if (type === 'linear') {
    missing(['factor']);
    return { type: 'linear', factor: fields.factor as number };
  }
  if (type !== 'llama3') throw unsupported(file, `rope scaling ${JSON.stringify(type)}`, 'default, linear, llama3');
  missing(['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings']);
  return {
    type: 'llama3',
    factor: fields.factor as number,
    lowFreqFactor: fields.low_freq_factor as number,
    highFreqFactor: fields.high_freq_factor as number,
    originalMaxPosition: fields.original_max_position_embeddings as number,
  };
}

/** Qwen configs carry a window that is only in force when `use_sliding_window` says so. */
function readSlidingWindow(fields: HuggingFaceConfig, architecture: Architecture): number | undefined {
  const inForce = architecture === 'mistral' || (architecture.startsWith('qwen') && fields.use_sliding_window === true);
  return inForce ? (fields.sliding_window ?? undefined) : undefined;
}

/** Cross-field rules that hold for every source of a config. */
function checked(config: ModelConfig, file: string): ModelConfig {
  const faults: string[] = [];
  const { heads, kvHeads, headSize, vocabSize } = config;
  if (heads % kvHeads !== 0) faults.push(`${heads} heads are not a multiple of ${kvHeads} key/value heads`);
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) faults.push(`head size ${headSize} is not an even number`);
  const special = [config.bosTokenId ?? 0, ...config.eosTokenIds];
  const outside = special.find((id) => id >= vocabSize);
  if (outside !== undefined) faults.push(`token id ${outside} is not below the vocabulary size ${vocabSize}`);
  const scaling = config.ropeScaling;
  if (scaling?.type === 'factors' && scaling.factors.length !== headSize / 2) {
    faults.push(`${scaling.factors.length} rope factors for head size ${headSize}`);
  }
  if (scaling?.type === 'factors' && !scaling.factors.every((factor) => factor > 0 && Number.isFinite(factor))) {
    faults.push('rope factors are not all numbers above 0');
  }
  if (faults.length > 0) throw invalid(file, faults);
  return config;
}

function invalid(file: string, faults: string[]): SoftflowError {
  return new SoftflowError(
    'MODEL_CONFIG_INVALID',
    `${file} does not describe a model: ${faults.join('; ')}. Check that the file belongs to the weights.`,
    { details: { file, faults } },
  );
}

function unsupported(file: string, received: string, supported: string): SoftflowError {
  return new SoftflowError(
    'MODEL_UNSUPPORTED',
    `${file} asks for ${received}, which is not supported. Supported: ${supported}. Choose another model.`,
    { details: { file, received, supported } },
  );
}

/**
 * Reads the config out of GGUF metadata. `ropeFactors` is the content of the tensor `rope_freqs.weight`, where the
 * file has one; `tied` says whether the file has no output head of its own.
 * Throws `MODEL_CONFIG_INVALID` and `MODEL_UNSUPPORTED` as {@link parseModelConfig} does.
 */
export function modelConfigFromGguf(
  metadata: GgufMetadata,
  { file = 'the GGUF file', tied = true, ropeFactors }: { file?: string; tied?: boolean; ropeFactors?: number[] } = {},
): ModelConfig {
  const architecture = metadata.get('general.architecture');
  if (typeof architecture !== 'string') throw invalid(file, ['general.architecture is missing']);
  refuseArchitecture(architecture, file);
  const faults: string[] = [];
  const number = (key: string, fallback?: number): number => {
    const value = metadata.get(`${architecture}.${key}`) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    faults.push(`${architecture}.${key}: expected a number above 0, received ${describe(value)}`);
    return 1;
  };
  const scaling = ggufRopeScaling(metadata, architecture, ropeFactors, file);
  const heads = number('attention.head_count');
  const hiddenSize = number('embedding_length');
  const tokens = metadata.get('tokenizer.ggml.tokens');
  const config: ModelConfig = {
    architecture: architecture as Architecture,
    hiddenSize,
    layers: number('block_count'),
    heads,
    kvHeads: number('attention.head_count_kv', heads),
    headSize: number('attention.key_length', hiddenSize / heads),
    ffnSize: number('feed_forward_length'),
    vocabSize: number('vocab_size', Array.isArray(tokens) ? tokens.length : undefined),
    normEps: shortest(number('attention.layer_norm_rms_epsilon')),
    ropeTheta: number('rope.freq_base', 10_000),
    ...(scaling && { ropeScaling: scaling }),
    tiedEmbeddings: tied,
    attentionBias: architecture === 'qwen2',
    qkNorm: architecture === 'qwen3',
    maxPosition: number('context_length'),
    ...ggufTokenIds(metadata),
  };
  const window = metadata.get(`${architecture}.attention.sliding_window`);
  if (typeof window === 'number' && window > 0) config.slidingWindow = window;
  for (const [name, value] of Object.entries(config)) {
    const whole = typeof value !== 'number' || name === 'normEps' || name === 'ropeTheta' || Number.isInteger(value);
    if (!whole) faults.push(`${name}: expected a whole number, received ${value}`);
  }
  if (faults.length > 0) throw invalid(file, faults);
  return checked(config, file);
}

function ggufTokenIds(metadata: GgufMetadata): Pick<ModelConfig, 'bosTokenId' | 'eosTokenIds'> {
  const bos = metadata.get('tokenizer.ggml.bos_token_id');
  const eos = metadata.get('tokenizer.ggml.eos_token_id');
  return {
    ...(typeof bos === 'number' && { bosTokenId: bos }),
    eosTokenIds: typeof eos === 'number' ? [eos] : [],
  };
}

function ggufRopeScaling(
  metadata: GgufMetadata,
  architecture: string,
  ropeFactors: number[] | undefined,
  file: string,
): RopeScaling | undefined {
  if (ropeFactors) return { type: 'factors', factors: ropeFactors };
  const type = metadata.get(`${architecture}.rope.scaling.type`) ?? 'none';
  if (type === 'none') return undefined;
  const factor = metadata.get(`${architecture}.rope.scaling.factor`);
  if (type === 'linear' && typeof factor === 'number' && factor > 0) return { type: 'linear', factor };
  throw unsupported(file, `rope scaling ${describe(type)}`, 'none, linear');
}

/** The shortest decimal with the same float32 value: a GGUF's 1e-5 is 9.999999747378752e-6 as a double. */
function shortest(value: number): number {
  for (let digits = 1; digits < 17; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

function describe(value: GgufValue | undefined): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return value === undefined ? 'nothing' : JSON.stringify(typeof value === 'bigint' ? `${value}` : value);
}
