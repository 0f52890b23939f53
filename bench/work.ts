import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { encodeForEmbedding, encodePrompts, encodeTarget, sharedPrefix } from '../activities/jobs/job-data.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { openStore, type Store } from '../artifacts/store.ts';
import { prepareData } from '../datasets/prepare.ts';
import type { ResolvedDataSource } from '../datasets/sources/source.ts';
import { decodeItems, decodeTitles, decodeWindows } from '../datasets/tables.ts';
import { type AdapterParameters, initialAdapter, type LoraConfig } from '../model/lora.ts';
import type { ModelConfig } from '../model/model-config.ts';
import { encodePeftAdapter } from '../model/peft.ts';
import { openTokenizer } from '../model/tokenizer.ts';
import { type ModelSource, openWeights } from '../model/weights.ts';
import type { BackendChoice } from '../workers/backend-choices.ts';
import { machinePlaces } from '../workers/places.ts';
import { type RunConfig, RunConfigSchema } from '../workflows/run-config.ts';

export interface WorkSample {
  windowId: string;
  prompt: number[];
  target: number[];
  /** The target of the next window stands for y-hat: a real title of usual length, the same on both sides. */
  distilled: number[];
  /** Row of the true title in the title table. */
  titleRow: number;
}

/** What both sides compute, as token ids, so that nothing but the computing itself differs. */
export interface Work {
  config: RunConfig;
  modelDigest: string;
  /** The model of both sides. */
  model: ModelSource;
  /** What computes on softflow's side, and PyTorch's device on the other. */
  backend: BackendChoice;
  peerDevice: string;
  /** Folder of an adapter in PEFT's format with B not zero, so that equal losses say something about it. */
  adapter: string;
  endId: number;
  lambda: number;
  /** Tokens that all prompts share. */
  prefix: number;
  train: WorkSample[];
  test: WorkSample[];
  titles: number[][];
}

/** softflow's own tables, for the pipeline. */
export interface PipelineWork extends Work {
  store: string;
  tables: Record<'items' | 'titles' | 'windowsTrain' | 'windowsTest', ArtifactRef>;
}

export interface WorkSize {
  /** Train and test windows of the pipeline. */
  windows: number;
  /** At most so many titles; all by default. */
  titles?: number;
  backend: BackendChoice;
  peerDevice: string;
}

/** The benchmark's fixed circumstances; everything else is a run's default. */
export const CONFIG = {
  model: { source: { registry: 'smollm2-135m-instruct' }, precision: 'f32' },
  train: { batchSize: 16, microBatchSize: 8 },
  generation: { beamWidth: 4, maxNewTokens: 32 },
} as const;

export const LAMBDA = 0.5;

/** Prepares MovieLens-100K and writes the work into a new folder; returns its path and the work. */
export async function makeWork(size: WorkSize): Promise<{ folder: string; work: PipelineWork }> {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-bench-'));
  const samples = { train: size.windows, valid: 1, test: size.windows };
  const config = RunConfigSchema.parse({
    ...CONFIG,
    data: { source: { registry: 'movielens-100k' }, samples },
    soft: { distancePrompts: size.windows },
  });
  const location = await machinePlaces.modelFiles(config.model.source);
  if (!('gguf' in location)) throw new RangeError('Expected the model as a GGUF file');
  const files = await openWeights(location);
  const tokenizer = await openTokenizer(location, files.config);
  const store = join(folder, 'store');
  const prepared = await prepare(config, folder, await openStore(store, { create: true }));
  const items = decodeItems(prepared.bytes.items);
  const toSamples = (bytes: Uint8Array): WorkSample[] => {
    const windows = decodeWindows(bytes);
    const prompts = encodePrompts(windows, items, tokenizer, config.prompt);
    const targetOf = (i: number) => encodeTarget(items, windows[i % windows.length]!.target, tokenizer);
    return windows.map(({ windowId, target }, i) => ({
      windowId,
      prompt: prompts[i]!,
      target: targetOf(i),
      distilled: targetOf(i + 1),
      titleRow: items[target]!.titleRow,
    }));
  };
  const train = toSamples(prepared.bytes.windowsTrain);
  const titles = decodeTitles(prepared.bytes.titles).map(({ title }) => encodeForEmbedding(title, tokenizer));
  const work: PipelineWork = {
    config,
    modelDigest: files.digest,
    model: location,
    backend: size.backend,
    peerDevice: size.peerDevice,
    adapter: await writeAdapter(join(folder, 'adapter'), files.config, config.lora, location.gguf),
    endId: tokenizer.eosTokenId,
    lambda: LAMBDA,
    prefix: sharedPrefix(train.map(({ prompt }) => prompt)),
    train,
    test: toSamples(prepared.bytes.windowsTest),
    titles: titles.slice(0, size.titles),
    store,
    tables: prepared.refs,
  };
  await writeFile(join(folder, 'work.json'), JSON.stringify(work));
  return { folder, work };
}

async function prepare(config: RunConfig, folder: string, store: Store) {
  const tmpDir = join(folder, 'prepare');
  await mkdir(tmpDir);
  const { source, ...options } = config.data;
  const params = { ...options, seed: config.seed };
  const prepared = await prepareData((await machinePlaces.dataSource(source)) as ResolvedDataSource, params, {
    memoryLimit: '1GB',
    threads: 2,
    tmpDir,
  });
  const bytes = {
    items: prepared.items,
    titles: prepared.titles,
    windowsTrain: prepared.windowsTrain,
    windowsTest: prepared.windowsTest,
  };
  const put = (name: keyof typeof bytes) => store.putBytes(bytes[name]);
  const refs = {
    items: await put('items'),
    titles: await put('titles'),
    windowsTrain: await put('windowsTrain'),
    windowsTest: await put('windowsTest'),
  };
  return { bytes, refs };
}

/** The run's starting adapter with small numbers in B. */
export function benchAdapter(config: ModelConfig, lora: LoraConfig, seed: number): AdapterParameters {
  const parameters = initialAdapter(config, lora, seed);
  for (const [name, { data }] of parameters)
    if (name.includes('lora_B')) data.forEach((_, i) => (data[i] = 0.01 * Math.sin(i + 1)));
  return parameters;
}

export async function writeAdapter(
  folder: string,
  config: ModelConfig,
  lora: LoraConfig,
  baseModel: string,
): Promise<string> {
  await mkdir(folder);
  const parameters = benchAdapter(config, lora, 42);
  const files = encodePeftAdapter({ parameters, lora, baseModel: dirname(baseModel) });
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
  return folder;
}
