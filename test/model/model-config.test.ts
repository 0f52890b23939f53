import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { GgufMetadata, GgufValue } from '../../model/gguf.ts';
import { modelConfigFromGguf, parseModelConfig } from '../../model/model-config.ts';
import { expectFailure } from './expect-failure.ts';

const LLAMA = {
  model_type: 'llama',
  hidden_size: 2048,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  intermediate_size: 8192,
  vocab_size: 128_256,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  max_position_embeddings: 131_072,
  bos_token_id: 128_000,
  eos_token_id: [128_001, 128_008, 128_009],
};

const LLAMA3_SCALING = {
  rope_type: 'llama3',
  factor: 32,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};

describe('parseModelConfig', () => {
  test('reads the older and the newer form alike', () => {
    const older = parseModelConfig({ ...LLAMA, rope_theta: 500_000, rope_scaling: LLAMA3_SCALING });
    const newer = parseModelConfig({ ...LLAMA, rope_parameters: { ...LLAMA3_SCALING, rope_theta: 500_000 } });
    expect(newer).toEqual(older);
    expect(older).toEqual({
      architecture: 'llama',
      hiddenSize: 2048,
      layers: 16,
      heads: 32,
      kvHeads: 8,
      headSize: 64,
      ffnSize: 8192,
      vocabSize: 128_256,
      normEps: 1e-5,
      ropeTheta: 500_000,
      ropeScaling: { type: 'llama3', factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPosition: 8192 },
      tiedEmbeddings: true,
      attentionBias: false,
      qkNorm: false,
      maxPosition: 131_072,
      bosTokenId: 128_000,
      eosTokenIds: [128_001, 128_008, 128_009],
    });
  });

  test('reads both forms of the reference model', () => {
    const read = (name: string) =>
      parseModelConfig(JSON.parse(readFileSync(new URL(`../reference/tiny-llama/${name}`, import.meta.url), 'utf8')));
    expect(read('config.llama3.newer.json')).toEqual(read('config.llama3.json'));
    expect(read('config.llama3.json').ropeScaling?.type).toBe('llama3');
    expect(read('config.json').ropeScaling).toBeUndefined();
  });

  test('fills in what transformers fills in', () => {
    const { num_key_value_heads: _, tie_word_embeddings: __, eos_token_id: ___, ...bare } = LLAMA;
    const config = parseModelConfig({ ...bare, head_dim: null, rope_scaling: null });
    expect(config).toMatchObject({
      kvHeads: 32,
      headSize: 64,
      ropeTheta: 10_000,
      tiedEmbeddings: false,
      eosTokenIds: [],
    });
    expect(config.ropeScaling).toBeUndefined();
  });

  test('knows the biases of Qwen2, the head norms of Qwen3 and the window of Mistral', () => {
    const qwen2 = parseModelConfig({ ...LLAMA, model_type: 'qwen2', sliding_window: 4096, use_sliding_window: false });
    expect(qwen2).toMatchObject({ attentionBias: true, qkNorm: false });
    expect(qwen2.slidingWindow).toBeUndefined();
    const qwen3 = parseModelConfig({ ...LLAMA, model_type: 'qwen3', head_dim: 128 });
    expect(qwen3).toMatchObject({ attentionBias: false, qkNorm: true, headSize: 128 });
    const mistral = parseModelConfig({ ...LLAMA, model_type: 'mistral', sliding_window: 4096 });
    expect(mistral.slidingWindow).toBe(4096);
  });

  test.each<[string, object, RegExp]>([
    ['another architecture', { model_type: 'gemma2' }, /"gemma2".*llama, qwen2, qwen3, mistral/],
    ['an architecture from the prototype', { model_type: 'constructor' }, /"constructor"/],
    ['another activation', { hidden_act: 'gelu' }, /hidden_act "gelu"/],
    ['biases in the feed-forward part', { mlp_bias: true }, /mlp_bias/],
    ['biases on all of attention', { attention_bias: true }, /attention_bias/],
    ['a rotation of part of the head', { partial_rotary_factor: 0.5 }, /partial_rotary_factor 0.5/],
    ['another rope scaling', { rope_scaling: { rope_type: 'yarn', factor: 4 } }, /"yarn".*llama3/],
    ['quantised weights', { quantization_config: { bits: 4 } }, /quantization_config/],
  ])('refuses %s by name', async (_, changes, message) => {
    await expectFailure(
      () => parseModelConfig({ ...LLAMA, ...changes }, 'a/config.json'),
      'MODEL_UNSUPPORTED',
      message,
    );
  });

  test('reports all faults at once, with the file', async () => {
    const broken = { ...LLAMA, hidden_size: -1, vocab_size: 'many', num_hidden_layers: 1.5 };
    await expectFailure(
      () => parseModelConfig(broken, 'a/config.json'),
      'MODEL_CONFIG_INVALID',
      /a\/config\.json.*hidden_size.*num_hidden_layers.*vocab_size/,
    );
  });

  test.each<[string, unknown, RegExp]>([
    ['null', null, /does not describe a model/],
    ['no architecture', { ...LLAMA, model_type: undefined }, /model_type/],
    ['heads that do not share key/value heads evenly', { ...LLAMA, num_key_value_heads: 7 }, /32 heads .* 7/],
    ['a head size that is no whole number', { ...LLAMA, hidden_size: 2050 }, /head size 64\.0625/],
    ['an odd head size', { ...LLAMA, head_dim: 63 }, /head size 63/],
    ['an end token outside the vocabulary', { ...LLAMA, eos_token_id: 128_256 }, /token id 128256/],
    ['scaling without its factor', { ...LLAMA, rope_scaling: { rope_type: 'llama3' } }, /factor is missing/],
  ])('refuses %s', async (_, json, message) => {
    await expectFailure(() => parseModelConfig(json), 'MODEL_CONFIG_INVALID', message);
  });
});

describe('modelConfigFromGguf', () => {
  const metadata = (changes: Record<string, GgufValue | undefined> = {}): GgufMetadata => {
    const whole: Record<string, GgufValue | undefined> = {
      'general.architecture': 'llama',
      'llama.block_count': 30,
      'llama.context_length': 8192,
      'llama.embedding_length': 576,
      'llama.feed_forward_length': 1536,
      'llama.attention.head_count': 9,
      'llama.attention.head_count_kv': 3,
      'llama.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
      'llama.rope.freq_base': 100_000,
      'llama.vocab_size': 49_152,
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      ...changes,
    };
    return new Map(Object.entries(whole).filter((entry): entry is [string, GgufValue] => entry[1] !== undefined));
  };

  test('reads the shape of a model', () => {
    expect(modelConfigFromGguf(metadata())).toEqual({
      architecture: 'llama',
      hiddenSize: 576,
      layers: 30,
      heads: 9,
      kvHeads: 3,
      headSize: 64,
      ffnSize: 1536,
      vocabSize: 49_152,
      normEps: 1e-5,
      ropeTheta: 100_000,
      tiedEmbeddings: true,
      attentionBias: false,
      qkNorm: false,
      maxPosition: 8192,
      bosTokenId: 1,
      eosTokenIds: [2],
    });
  });

  test('takes the vocabulary size from the tokens and the head size from the key length', () => {
    const tokens = { 'llama.vocab_size': undefined, 'tokenizer.ggml.tokens': Array.from({ length: 12 }, String) };
    const config = modelConfigFromGguf(metadata({ ...tokens, 'llama.attention.key_length': 32 }), { tied: false });
    expect(config).toMatchObject({ vocabSize: 12, headSize: 32, tiedEmbeddings: false });
  });

  test.each<[string, Record<string, GgufValue | undefined>, RegExp]>([
    ['no architecture', { 'general.architecture': undefined }, /general\.architecture/],
    [
      'a missing and a broken number',
      { 'llama.block_count': undefined, 'llama.context_length': -1 },
      /block_count.*context_length/,
    ],
    ['a number of layers that is not whole', { 'llama.block_count': 1.5 }, /layers: expected a whole number/],
    ['heads given one by one', { 'llama.attention.head_count_kv': [3, 3] }, /head_count_kv.*a list of 2/],
    ['a vocabulary smaller than its end token', { 'llama.vocab_size': 2 }, /token id 2/],
  ])('refuses %s', async (_, changes, message) => {
    await expectFailure(() => modelConfigFromGguf(metadata(changes)), 'MODEL_CONFIG_INVALID', message);
  });

  test('hands on rope factors, one for each frequency', async () => {
    const ropeFactors = Array.from({ length: 32 }, (_, i) => 1 + i);
    const { ropeScaling } = modelConfigFromGguf(metadata(), { ropeFactors });
    expect(ropeScaling).toEqual({ type: 'factors', factors: ropeFactors });
    const zero = () => modelConfigFromGguf(metadata(), { ropeFactors: [...ropeFactors.slice(1), 0] });
    await expectFailure(zero, 'MODEL_CONFIG_INVALID', /rope factors are not all numbers above 0/);
  });

  test('refuses another architecture and another rope scaling by name', async () => {
    const phi = metadata({ 'general.architecture': 'phi3' });
    await expectFailure(
      () => modelConfigFromGguf(phi, { file: 'x.gguf' }),
      'MODEL_UNSUPPORTED',
      /x\.gguf.*"phi3".*qwen3/,
    );
    const yarn = metadata({ 'llama.rope.scaling.type': 'yarn' });
    await expectFailure(() => modelConfigFromGguf(yarn), 'MODEL_UNSUPPORTED', /"yarn"/);
  });
});
