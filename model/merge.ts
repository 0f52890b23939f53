import { copyFile, open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { openGguf } from './gguf.ts';
import { tokenizerFromGguf } from './gguf-tokenizer.ts';
import { readJsonFile } from './json-file.ts';
import type { AdapterParameters } from './lora.ts';
import { encodeModelConfig } from './model-config-json.ts';
import { encodeSafetensorsHeader } from './safetensors.ts';
import type { ModelFiles, ModelSource } from './weights.ts';

export interface MergeOptions {
  source: ModelSource;
  files: ModelFiles;
  adapter: AdapterParameters;
  /** loraAlpha / rank. */
  scale: number;
  /** An existing folder. */
  folder: string;
  /** Most bytes of weights a file; as large as Hugging Face's own. @default 5e9 */
  shardBytes?: number;
  /** Called before each tensor. */
  onTensor?: (done: number, total: number) => Promise<void> | void;
}

const SHARD_BYTES = 5e9;
/** Files of a model folder that a merged model takes over as they are. */
const COPIED =
  /^(tokenizer.*\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|generation_config\.json|vocab\.json|merges\.txt|chat_template\.(jinja|json)|LICENSE.*)$/i;

/**
 * Writes base model + adapter as one model in the Hugging Face layout: `config.json`, tokenizer, float32 safetensors.
 * Tensor by tensor, so that no more than one is held at a time.
 * @returns bytes of weights
 * @throws SoftflowError `ADAPTER_INVALID` for an adapter tensor that no weight takes, and those of reading the model
 */
export async function writeMergedModel(options: MergeOptions): Promise<number> {
  const { files, adapter, folder, shardBytes = SHARD_BYTES } = options;
  const updates = adapterUpdates(adapter, files.names);
  await writeModelJson(options);
  const shapes = new Map(files.names.map((name) => [name, files.shape(name)]));
  const shards = cutShards(shapes, shardBytes);
  let done = 0;
  for (const [index, names] of shards.entries()) {
    const file = await open(join(folder, shardName(index, shards.length)), 'wx', 0o644);
    try {
      await file.write(
        encodeSafetensorsHeader(
          names.map((name) => ({ name, dtype: 'F32', shape: shapes.get(name) as number[] })),
          { format: 'pt' },
        ),
      );
      for (const name of names) {
        await options.onTensor?.(done++, shapes.size);
        const { data } = await files.tensor(name);
        const update = updates.get(name);
        const merged = update ? addLowRank(data, update, options.scale) : data;
        await file.write(new Uint8Array(merged.buffer, merged.byteOffset, merged.byteLength));
      }
      await file.sync();
    } finally {
      await file.close();
    }
  }
  const total = [...shapes.values()].reduce((sum, shape) => sum + bytesOf(shape), 0);
  if (shards.length > 1) await writeIndex(folder, shards, total);
  return total;
}

interface LowRank {
  /** [r, in]. */
  a: { shape: [number, number]; data: Float32Array };
  /** [out, r]. */
  b: { shape: [number, number]; data: Float32Array };
}

/** The adapter's pairs by the name of the weight that they change. */
function adapterUpdates(adapter: AdapterParameters, names: readonly string[]): Map<string, LowRank> {
  const updates = new Map<string, LowRank>();
  for (const [name, a] of adapter) {
    if (!name.endsWith('.lora_A.weight')) continue;
    const module = name.slice('base_model.model.'.length, -'.lora_A.weight'.length);
    const b = adapter.get(`base_model.model.${module}.lora_B.weight`);
    if (b && names.includes(`${module}.weight`)) updates.set(`${module}.weight`, { a, b });
  }
  if (updates.size * 2 === adapter.size) return updates;
  throw new SoftflowError(
    'ADAPTER_INVALID',
    `Expected two adapter tensors for each of ${adapter.size / 2} weights of the model, found ${updates.size} such weights. Use the model that the adapter was trained on.`,
  );
}

/**
 * W + scale B A, summed in float64 and rounded once.
 * Source: Hu et al. 2021, section 4.1.
 * @param weight [out, in], changed in place
 */
export function addLowRank(weight: Float32Array, { a, b }: LowRank, scale: number): Float32Array {
  const [rank, width] = a.shape;
  const sums = new Float64Array(width);
  for (let row = 0; row < b.shape[0]; row++) {
    sums.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = scale * (b.data[row * rank + r] as number);
      for (let i = 0, at = r * width; i < width; i++, at++) sums[i]! += factor * (a.data[at] as number);
    }
    for (let i = 0, at = row * width; i < width; i++, at++) weight[at]! += sums[i] as number;
  }
  return weight;
}

function cutShards(shapes: ReadonlyMap<string, number[]>, limit: number): string[][] {
  const shards: string[][] = [[]];
  let bytes = 0;
  for (const [name, shape] of shapes) {
    if (bytes > 0 && bytes + bytesOf(shape) > limit) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)?.push(name);
    bytes += bytesOf(shape);
  }
  return shards;
}

const bytesOf = (shape: readonly number[]): number => 4 * shape.reduce((product, size) => product * size, 1);

function shardName(index: number, count: number): string {
  const padded = (n: number) => String(n).padStart(5, '0');
  return count === 1 ? 'model.safetensors' : `model-${padded(index + 1)}-of-${padded(count)}.safetensors`;
}

async function writeIndex(folder: string, shards: readonly string[][], total: number): Promise<void> {
  const entries = shards.flatMap((names, i) => names.map((name) => [name, shardName(i, shards.length)]));
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(entries) };
  await writeFile(join(folder, 'model.safetensors.index.json'), pretty(index));
}

async function writeModelJson({ source, files, folder }: MergeOptions): Promise<void> {
  const put = (name: string, value: unknown) => writeFile(join(folder, name), pretty(value));
  if ('folder' in source) {
    const config = (await readJsonFile(join(source.folder, 'config.json'))) as Record<string, unknown>;
    const { dtype, torch_dtype: _, ...rest } = config;
    await put('config.json', { ...rest, [dtype === undefined ? 'torch_dtype' : 'dtype']: 'float32' });
    for (const name of (await readdir(source.folder)).filter((name) => COPIED.test(name)))
      await copyFile(join(source.folder, name), join(folder, name));
    return;
  }
  await put('config.json', encodeModelConfig(files.config, source.gguf));
  const { json, settings } = tokenizerFromGguf((await openGguf(source.gguf)).metadata, source.gguf);
  await put('tokenizer.json', json);
  await put('tokenizer_config.json', { ...settings, tokenizer_class: 'PreTrainedTokenizerFast' });
}

const pretty = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
