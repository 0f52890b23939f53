import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseModelConfig } from '../model/model-config.ts';
import { encodeSafetensors, type SafetensorsValue } from '../model/safetensors.ts';
import { expectedWeights } from '../model/weights.ts';
import { RunConfigSchema } from '../workflows/run-config.ts';
import { CONFIG, LAMBDA, type Work, type WorkSample, type WorkSize, writeAdapter } from './work.ts';

/** The shape of SmolLM2-135M. */
const SHAPE = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 576,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  intermediate_size: 1536,
  vocab_size: 49_152,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 100_000,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
  attention_bias: false,
  eos_token_id: 2,
  torch_dtype: 'float32',
};

/** Token counts as MovieLens-100K has them: what all prompts share, what is a prompt's own, an answer, a title. */
const LENGTHS = { prefix: 73, rest: [92, 152], answer: [8, 18], title: [5, 20] } as const;
const TITLES = 1152;
const SEED = 42;

/**
 * Work of the usual size with nothing fetched: random weights, prompts and answers. It says nothing about answers, only
 * about equal numbers and time; beams of random weights hardly ever end early, which is the longest that generation takes.
 */
export async function makeSyntheticWork(size: WorkSize): Promise<{ folder: string; work: Work }> {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-bench-'));
  const model = join(folder, 'model');
  const config = parseModelConfig(SHAPE, 'the synthetic model');
  await mkdir(model);
  await writeFile(join(model, 'config.json'), JSON.stringify(SHAPE));
  await writeFile(join(model, 'model.safetensors'), encodeSafetensors(randomWeights(), { format: 'pt' }));
  const runConfig = RunConfigSchema.parse({ ...CONFIG, data: { source: { registry: 'movielens-100k' } } });
  const draw = random(SEED);
  const work: Work = {
    config: runConfig,
    modelDigest: '',
    model: { folder: model },
    backend: size.backend,
    peerDevice: size.peerDevice,
    adapter: await writeAdapter(join(folder, 'adapter'), config, runConfig.lora, join(model, 'model.safetensors')),
    endId: SHAPE.eos_token_id,
    lambda: LAMBDA,
    prefix: LENGTHS.prefix,
    ...samples(draw, size.windows),
    titles: Array.from({ length: size.titles ?? TITLES }, () => tokens(draw, LENGTHS.title)),
  };
  await writeFile(join(folder, 'work.json'), JSON.stringify(work));
  return { folder, work };

  function randomWeights(): Map<string, SafetensorsValue> {
    return new Map(
      [...expectedWeights(config)].map(([name, shape], i) => [name, { dtype: 'F32', shape, data: weight(shape, i) }]),
    );
  }
}

/** Uniform with standard deviation 1 / sqrt(inputs), norms near 1: hidden states stay well-behaved. */
function weight([rows = 1, inputs]: number[], stream: number): Float32Array {
  const draw = random(SEED + 1 + stream);
  if (inputs === undefined) return Float32Array.from({ length: rows }, () => 0.9 + 0.2 * draw());
  const width = Math.sqrt(12 / inputs);
  const data = new Float32Array(rows * inputs);
  for (let i = 0; i < data.length; i++) data[i] = (draw() - 0.5) * width;
  return data;
}

function samples(draw: () => number, count: number): { train: WorkSample[]; test: WorkSample[] } {
  const prefix = tokens(draw, [LENGTHS.prefix, LENGTHS.prefix]);
  const made = (name: string) =>
    Array.from({ length: count }, (_, i) => ({
      windowId: `${name}${i}`,
      prompt: [...prefix, ...tokens(draw, LENGTHS.rest)],
      target: [...tokens(draw, LENGTHS.answer), SHAPE.eos_token_id],
      distilled: [...tokens(draw, LENGTHS.answer), SHAPE.eos_token_id],
      titleRow: 0,
    }));
  return { train: made('train'), test: made('test') };
}

/** Between two lengths, no special tokens. */
function tokens(draw: () => number, [least, most]: readonly [number, number]): number[] {
  const length = least + Math.floor(draw() * (most - least + 1));
  return Array.from({ length }, () => 100 + Math.floor(draw() * (SHAPE.vocab_size - 100)));
}

/** Numbers in [0, 1), the same on every machine. Source: xorshift32 (Marsaglia 2003). */
function random(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
