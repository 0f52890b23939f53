import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { refuseCodeBytes, refuseCodeFolder, refuseCodeName } from './code-formats.ts';
import { type GgufTensor, openGguf } from './gguf.ts';
import { readJsonFile } from './json-file.ts';
import { type ModelConfig, modelConfigFromGguf, parseModelConfig } from './model-config.ts';
import { openSafetensors } from './safetensors.ts';

/** Where a model comes from: a Hugging Face folder, or one GGUF file. */
export type ModelSource = { folder: string } | { gguf: string };

export interface WeightTensor {
  /** Slowest dimension first: a projection is [out, in]. */
  shape: number[];
  data: Float32Array;
}

/** An open model. Weights go by their Hugging Face names, whatever the source. */
export interface ModelFiles {
  readonly config: ModelConfig;
  /** SHA-256 over the config and the weights (hex). */
  readonly digest: string;
  /** Every weight the config asks for, in the order of the layers. */
  readonly names: string[];
  /** The shape of one weight, slowest dimension first. Throws `MODEL_MISMATCH` for a name the model does not have. */
  shape(name: string): number[];
  /** Reads one weight. Throws `MODEL_MISMATCH` for a name the model does not have, `MODEL_NOT_FINITE`. */
  tensor(name: string): Promise<WeightTensor>;
}

/** A weight that is in a file and not read yet. */
interface StoredTensor {
  shape: number[];
  read(): Promise<Float32Array>;
}

/**
 * Opens a model and checks the names and shapes of all its weights against its config; values are read later.
 * Throws `MODEL_FILE_MISSING`, `MODEL_FILE_DAMAGED`, `MODEL_CONFIG_INVALID`, `MODEL_UNSUPPORTED` (pickle files and
 * other architectures included) and `MODEL_MISMATCH` (missing, extra or misshapen weights).
 */
export async function openWeights(source: ModelSource): Promise<ModelFiles> {
  const opened = 'gguf' in source ? await openGgufModel(source.gguf) : await openFolder(source.folder);
  const { config, stored, files, place } = opened;
  const expected = expectedWeights(config);
  checkWeights(expected, stored, place);
  const digest = await digestFiles(files);
  return {
    config,
    digest,
    names: [...expected.keys()],
    shape: (name) => {
      const shape = expected.get(name);
      if (!shape) throw mismatch(`${place} has no weight ${name}`, 'a weight of the config', name);
      return shape;
    },
    tensor: async (name) => {
      const tensor = expected.has(name) ? stored.get(name) : undefined;
      if (!tensor) throw mismatch(`${place} has no weight ${name}`, 'a weight of the config', name);
      const data = await tensor.read();
      checkFinite(data, name, place);
      return { shape: tensor.shape, data };
    },
  };
}

interface OpenedModel {
  config: ModelConfig;
  stored: Map<string, StoredTensor>;
  files: string[];
  place: string;
}

/** The names and shapes of the weights that a config asks for, in the order of the layers. */
export function expectedWeights(config: ModelConfig): Map<string, number[]> {
  const { hiddenSize: d, ffnSize, vocabSize, headSize, heads, kvHeads } = config;
  const weights = new Map<string, number[]>([['model.embed_tokens.weight', [vocabSize, d]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const put = (name: string, shape: number[]) => weights.set(`model.layers.${layer}.${name}`, shape);
    put('input_layernorm.weight', [d]);
    for (const [projection, rows] of [
      ['q', heads * headSize],
      ['k', kvHeads * headSize],
      ['v', kvHeads * headSize],
    ] as const) {
      put(`self_attn.${projection}_proj.weight`, [rows, d]);
      if (config.attentionBias) put(`self_attn.${projection}_proj.bias`, [rows]);
    }
    if (config.qkNorm) {
      put('self_attn.q_norm.weight', [headSize]);
      put('self_attn.k_norm.weight', [headSize]);
    }
    put('self_attn.o_proj.weight', [d, heads * headSize]);
    put('post_attention_layernorm.weight', [d]);
    put('mlp.gate_proj.weight', [ffnSize, d]);
    put('mlp.up_proj.weight', [ffnSize, d]);
    put('mlp.down_proj.weight', [d, ffnSize]);
  }
  weights.set('model.norm.weight', [d]);
  if (!config.tiedEmbeddings) weights.set('lm_head.weight', [vocabSize, d]);
  return weights;
}

/** Buffers that older exports stored beside the weights, and a copy of the tied head. */
const IGNORED = /\.rotary_emb\.inv_freq$|^lm_head\.weight$/;

function checkWeights(expected: Map<string, number[]>, stored: Map<string, StoredTensor>, place: string): void {
  const missing = [...expected.keys()].filter((name) => !stored.has(name));
  if (missing.length > 0)
    throw mismatch(`${place} lacks weights`, list(missing), `${stored.size} weights without them`);
  const extra = [...stored.keys()].filter((name) => !expected.has(name) && !IGNORED.test(name));
  if (extra.length > 0) {
    throw mismatch(`${place} has weights that the config does not know`, `${expected.size} weights`, list(extra));
  }
  for (const [name, shape] of expected) {
    const received = stored.get(name)?.shape ?? [];
    if (received.join() !== shape.join()) {
      throw mismatch(`${place}: the shape of ${name} does not fit the config`, `[${shape}]`, `[${received}]`);
    }
  }
}

function list(names: string[]): string {
  const shown = names.slice(0, 4).join(', ');
  return names.length > 4 ? `${shown} and ${names.length - 4} more` : shown;
}

function mismatch(what: string, expected: string, received: string): SoftflowError {
  return new SoftflowError(
    'MODEL_MISMATCH',
    `${what}. Expected: ${expected}. Received: ${received}. Check that config and weights are of the same model.`,
    { details: { expected, received } },
  );
}

function checkFinite(data: Float32Array, name: string, place: string): void {
  // 0 * x is 0 for every finite x and NaN for the rest: one sum without a branch.
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += 0 * (data[i] as number);
  if (sum === 0) return;
  const at = data.findIndex((value) => !Number.isFinite(value));
  throw new SoftflowError(
    'MODEL_NOT_FINITE',
    `${place}: ${name} holds ${data[at]} at element ${at}. Expected: finite numbers. The file is damaged or was badly converted; fetch it again.`,
    { details: { place, tensor: name, element: at } },
  );
}

// --- Hugging Face folders

async function openFolder(folder: string): Promise<OpenedModel> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    throw new SoftflowError('MODEL_FILE_MISSING', `${folder} is not a folder that can be read (${cause.code}).`, {
      details: { folder },
      cause,
    });
  });
  const configPath = join(folder, 'config.json');
  const config = parseModelConfig(await readJsonFile(configPath), configPath);
  const { shards, index } = await findShards(folder, names);
  const stored = new Map<string, StoredTensor>();
  for (const shard of shards) {
    await refuseCodeBytes(shard);
    for (const [name, { shape, read }] of (await openSafetensors(shard)).tensors) {
      const home = index?.get(name);
      if (stored.has(name) || (index && home !== basename(shard))) {
        throw mismatch(`${shard} holds ${name}`, home ? `it in ${home}` : 'each weight once', basename(shard));
      }
      stored.set(name, { shape, read });
    }
  }
  const lost = [...(index?.keys() ?? [])].find((name) => !stored.has(name));
  if (lost !== undefined) throw mismatch(`${folder} lacks ${lost}`, `it in ${index?.get(lost)}`, 'no such weight');
  return { config, stored, files: [configPath, ...shards], place: folder };
}

async function findShards(folder: string, names: string[]): Promise<{ shards: string[]; index?: Map<string, string> }> {
  if (names.includes('model.safetensors')) return { shards: [join(folder, 'model.safetensors')] };
  if (names.includes('model.safetensors.index.json')) {
    const index = readIndex(await readJsonFile(join(folder, 'model.safetensors.index.json')), folder);
    return { index, shards: [...new Set(index.values())].sort().map((name) => join(folder, name)) };
  }
  await refuseCodeFolder(folder);
  throw new SoftflowError(
    'MODEL_FILE_MISSING',
    `${folder} holds no weights. Expected: model.safetensors or model.safetensors.index.json. Received: ${list(names) || 'an empty folder'}.`,
    { details: { folder } },
  );
}

const SHARD_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,250}\.safetensors$/;

function readIndex(json: unknown, folder: string): Map<string, string> {
  const map = (json as { weight_map?: unknown } | null)?.weight_map;
  const index = new Map<string, string>();
  for (const [name, file] of Object.entries(map !== null && typeof map === 'object' ? map : {})) {
    if (typeof file !== 'string' || !SHARD_NAME.test(file)) {
      throw mismatch(`the index of ${folder}: file of ${name}`, 'a plain .safetensors file name', JSON.stringify(file));
    }
    index.set(name, file);
  }
  if (index.size === 0) throw mismatch(`the index of ${folder}`, 'weight_map with names', 'none');
  return index;
}

// --- GGUF

const GGUF_NAMES: Readonly<Record<string, string>> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};

const GGUF_LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** The Hugging Face name of a GGUF weight; an unknown name stays as it is and is refused as an extra weight. */
export function huggingFaceName(ggufName: string): string {
  const layer = /^blk\.(\d+)\.([a-z_]+)\.(weight|bias)$/.exec(ggufName);
  const module = layer?.[2] && Object.hasOwn(GGUF_LAYER_NAMES, layer[2]) ? GGUF_LAYER_NAMES[layer[2]] : undefined;
  if (layer && module) return `model.layers.${layer[1]}.${module}.${layer[3]}`;
  return Object.hasOwn(GGUF_NAMES, ggufName) ? (GGUF_NAMES[ggufName] as string) : ggufName;
}

const ROPE_FACTORS = 'rope_freqs.weight';

async function openGgufModel(path: string): Promise<OpenedModel> {
  refuseCodeName(path);
  await refuseCodeBytes(path);
  const { metadata, tensors } = await openGguf(path);
  const factors = await tensors.get(ROPE_FACTORS)?.read();
  const config = modelConfigFromGguf(metadata, {
    file: path,
    tied: !tensors.has('output.weight'),
    ...(factors && { ropeFactors: [...factors] }),
  });
  const stored = new Map<string, StoredTensor>();
  for (const [ggufName, tensor] of tensors) {
    if (ggufName === ROPE_FACTORS) continue;
    const name = huggingFaceName(ggufName);
    stored.set(name, { shape: tensor.shape, read: () => readGgufTensor(tensor, name, config) });
  }
  return { config, stored, files: [path], place: path };
}

async function readGgufTensor(tensor: GgufTensor, name: string, config: ModelConfig): Promise<Float32Array> {
  const data = await tensor.read();
  if (config.architecture !== 'llama') return data;
  if (/\.q_proj\./.test(name)) return halvesFromPairs(data, config.heads, config.headSize);
  if (/\.k_proj\./.test(name)) return halvesFromPairs(data, config.kvHeads, config.headSize);
  return data;
}

/**
 * GGUF's Llama layout rotates neighbouring rows of a head together, (0, 1), (2, 3), ...; the Hugging Face layout
 * rotates rows i and i + D/2. Moves row 2i + half of each head to row i + half * D/2.
 */
function halvesFromPairs(data: Float32Array, heads: number, headSize: number): Float32Array {
  const width = data.length / (heads * headSize);
  const out = new Float32Array(data.length);
  for (let row = 0; row < heads * headSize; row++) {
    const inHead = row % headSize;
    const to = row - inHead + (inHead >> 1) + (inHead & 1) * (headSize / 2);
    out.set(data.subarray(row * width, (row + 1) * width), to * width);
  }
  return out;
}

// --- digests

const digests = new Map<string, Promise<string>>();

/** SHA-256 of a file, remembered for as long as its size and time of change stay the same. */
async function digestFile(path: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  const key = `${path}\0${size}\0${mtimeMs}`;
  const known = digests.get(key);
  if (known) return known;
  const digest = hashStream(path);
  digests.set(key, digest);
  digest.catch(() => digests.delete(key));
  return digest;
}

async function hashStream(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function digestFiles(paths: string[]): Promise<string> {
  const parts = await Promise.all(paths.map(async (path) => `${await digestFile(path)}\n`));
  return createHash('sha256').update(parts.join('')).digest('hex');
}
