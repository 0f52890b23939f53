import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteSymbols } from './byte-symbols.ts';
import { type ModelConfig, parseModelConfig } from './model-config.ts';
import { encodeSafetensors, type SafetensorsValue } from './safetensors.ts';
import type { TokenizerJson } from './tokenizer.ts';
import { expectedWeights } from './weights.ts';

/** Shape of a tiny random Llama; every field has a default. */
export interface TinyModelOptions {
  /** @default 1 */
  seed?: number;
  /** @default 64 */
  hiddenSize?: number;
  /** @default 2 */
  layers?: number;
  /** @default 4 */
  heads?: number;
  /** @default 2 */
  kvHeads?: number;
  /** @default 128 */
  ffnSize?: number;
  /** At most this many: the end token, the 256 bytes, then merges as long as `corpus` gives any. @default 512 */
  vocabSize?: number;
  /** Text that the merges are learnt from. */
  corpus?: string;
  /** @default 1024 */
  maxPosition?: number;
  /** Weight files to spread the tensors over, in turn. @default 1 */
  shards?: number;
}

export const END_OF_TEXT = '<|endoftext|>';

const CORPUS = `Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request. \n\n### Instruction:\nGiven a list of movies the user has \
watched before, please recommend a new movie that the user likes to the user.\n\n### Input:\nThe user has watched the \
following movies before: "The Story", "A Night in Part", "Star Day II", "Love and Man"\n\n### Response:\n"Love"`;

/**
 * Writes a deterministic random Llama with grouped heads as a Hugging Face folder: `config.json`, safetensors,
 * `tokenizer.json`, `tokenizer_config.json`. The same options give the same bytes on every machine.
 * Weights have standard deviation 1 / sqrt(inputs), norms lie near 1: hidden states stay well-behaved and an adapter
 * can learn.
 */
export async function writeTinyModel(folder: string, options: TinyModelOptions = {}): Promise<void> {
  const { config, json, tokenizer, weights } = tinyModel(options);
  await mkdir(folder, { recursive: true });
  const put = (name: string, content: string | Uint8Array) => writeFile(join(folder, name), content);
  await put('config.json', pretty(json));
  await put('tokenizer.json', pretty(tokenizer));
  await put('tokenizer_config.json', pretty({ tokenizer_class: 'PreTrainedTokenizerFast', eos_token: END_OF_TEXT }));
  const shards = options.shards ?? 1;
  if (shards === 1) return put('model.safetensors', encodeSafetensors(weights, { format: 'pt' }));
  const weightMap: Record<string, string> = {};
  const parts = Array.from({ length: shards }, () => new Map<string, SafetensorsValue>());
  [...expectedWeights(config).keys()].forEach((name, i) => {
    weightMap[name] = shardName(i % shards, shards);
    parts[i % shards]?.set(name, weights.get(name) as SafetensorsValue);
  });
  for (const [i, part] of parts.entries()) await put(shardName(i, shards), encodeSafetensors(part, { format: 'pt' }));
  await put('model.safetensors.index.json', pretty({ metadata: {}, weight_map: weightMap }));
}

function shardName(index: number, count: number): string {
  const padded = (n: number) => String(n).padStart(5, '0');
  return `model-${padded(index + 1)}-of-${padded(count)}.safetensors`;
}

function pretty(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** The parts of a tiny model in memory, as {@link writeTinyModel} writes them. */
export function tinyModel(options: TinyModelOptions = {}): {
  config: ModelConfig;
  json: Record<string, unknown>;
  tokenizer: TokenizerJson;
  weights: Map<string, SafetensorsValue<Float32Array>>;
} {
  const tokenizer = tinyTokenizer(options.corpus ?? CORPUS, options.vocabSize ?? 512);
  const json = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: options.hiddenSize ?? 64,
    num_hidden_layers: options.layers ?? 2,
    num_attention_heads: options.heads ?? 4,
    num_key_value_heads: options.kvHeads ?? 2,
    intermediate_size: options.ffnSize ?? 128,
    vocab_size: Object.keys(tokenizer.model.vocab).length,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    max_position_embeddings: options.maxPosition ?? 1024,
    tie_word_embeddings: true,
    attention_bias: false,
    eos_token_id: 0,
    torch_dtype: 'float32',
  };
  const config = parseModelConfig(json, 'the tiny model');
  const weights = new Map<string, SafetensorsValue<Float32Array>>();
  for (const [name, shape] of expectedWeights(config)) {
    weights.set(name, { dtype: 'F32', shape, data: randomWeight(options.seed ?? 1, name, shape) });
  }
  return { config, json, tokenizer, weights };
}

function randomWeight(seed: number, name: string, shape: number[]): Float32Array {
  const [rows = 1, inputs] = shape;
  const stream = mix(seed ^ mix(hashText(name)));
  if (inputs === undefined) return Float32Array.from({ length: rows }, (_, i) => 1 + 0.1 * nearNormal(stream, i));
  const scale = 1 / Math.sqrt(inputs);
  return Float32Array.from({ length: rows * inputs }, (_, i) => scale * nearNormal(stream, i));
}

/**
 * Draw `index` of a stream: the sum of four uniform numbers, scaled to variance 1. Nearly normal, and made of exact
 * arithmetic only, so that it is the same on every machine.
 */
function nearNormal(stream: number, index: number): number {
  let sum = -2;
  for (let k = 0; k < 4; k++) sum += mix(stream + Math.imul(4 * index + k, 0x9e3779b9)) / 2 ** 32;
  return sum * Math.sqrt(3);
}

/** The finaliser of MurmurHash3: every bit of the input changes every bit of the output. */
function mix(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function hashText(text: string): number {
  let hash = 0;
  for (const char of text) hash = mix(Math.imul(hash, 31) + (char.codePointAt(0) ?? 0));
  return hash;
}

function tinyTokenizer(corpus: string, vocabSize: number): TokenizerJson {
  const merges = learnMerges(corpus, vocabSize - 257);
  const tokens = [END_OF_TEXT, ...byteSymbols(), ...merges.map((pair) => pair.join(''))];
  return {
    version: '1.0',
    added_tokens: [
      {
        id: 0,
        content: END_OF_TEXT,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: true },
    model: {
      type: 'BPE',
      unk_token: null,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

/** Byte-pair merges of a text: the most frequent pair first, equal counts in the order of their symbols. */
function learnMerges(corpus: string, count: number): [string, string][] {
  const symbols = byteSymbols();
  const bytes = (word: string) => Array.from(new TextEncoder().encode(word), (byte) => symbols[byte] as string);
  let words = (corpus.match(/ ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+/gu) ?? []).map(bytes);
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const pair = mostFrequentPair(words);
    if (pair === undefined) break;
    merges.push(pair);
    words = words.map((word) => applyMerge(word, pair));
  }
  return merges;
}

function mostFrequentPair(words: string[][]): [string, string] | undefined {
  const counts = new Map<string, number>();
  for (const word of words) {
    for (let i = 1; i < word.length; i++) {
      const key = `${word[i - 1]} ${word[i]}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  const best = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))[0];
  return best?.[0].split(' ') as [string, string] | undefined;
}

function applyMerge(word: string[], [left, right]: [string, string]): string[] {
  const out: string[] = [];
  for (const symbol of word) {
    if (symbol === right && out.at(-1) === left) out[out.length - 1] = left + right;
    else out.push(symbol);
  }
  return out;
}
