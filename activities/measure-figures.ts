import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { digestOf } from '../artifacts/canonical-json.ts';
import type { Store } from '../artifacts/store.ts';
import { type PreparedData, type PrepareParams, prepareData } from '../datasets/prepare.ts';
import { needsSnapshot, snapshotSource } from '../datasets/snapshot.ts';
import type { ResolvedDataSource } from '../datasets/sources/source.ts';
import { decodeItems, decodeTitles, decodeWindows } from '../datasets/tables.ts';
import { calibrate, type WorkShape } from '../model/calibration.ts';
import type { Calibration } from '../model/cost.ts';
import { kernelsFor } from '../model/kernel-sets.ts';
import { embeddingBytes, generationBytes, trainingBytes, weightBytes } from '../model/memory.ts';
import type { ModelConfig } from '../model/model-config.ts';
import { openTokenizer, type Tokenizer } from '../model/tokenizer.ts';
import { openWeights } from '../model/weights.ts';
import type { GenerationParams, LoraParams, ModelSource, Precision, PromptParams } from './contracts.ts';
import type { RunFigures } from './estimate.ts';
import { encodeForEmbedding, encodePrompts, encodeTarget, sharedPrefix } from './jobs/job-data.ts';
import { DUCK, type Places } from './resolve-sources.ts';

/** What of a run its cost depends on. */
export interface FiguresRequest {
  model: ModelSource;
  precision: Precision;
  /** The `data` part of the run config. */
  data: { source: unknown };
  seed: number;
  prompt: PromptParams;
  lora: LoraParams;
  generation: GenerationParams;
  encodeRows: number;
  microBatchSize: number;
  /** Outputs of `prepareData`, when it is done. */
  prepared?: Record<string, ArtifactRef>;
}

export interface FiguresContext {
  /** Absent where there is none yet. */
  store?: Store;
  places: Places;
  fingerprint: Record<string, string>;
  /** Resident bytes of a process that has opened the backend and nothing else. */
  backendBytes: number;
  /** Keeps what takes seconds to measure, by what it depends on. */
  remember(key: string, measure: () => Promise<Calibration>): Promise<Calibration>;
}

/** Prompts that stand for all. */
const SAMPLED = 256;
/** Units of work are measured on no more tokens than this; larger ones cost in proportion. */
const MAX_TRAINING_TOKENS = 2048;
const MAX_TILE_TOKENS = 6144;
/** A heap that has held other tensors before has gaps. */
const GAPS = 1.08;
/** Share of answers that are no title and go on to the limit; tuned models of short runs have them. */
const RAMBLING = 0.25;

/** Reads the run's data as tokens, and measures what its units of work cost. Only a process with a backend may call it. */
export async function measureFigures(asked: FiguresRequest, context: FiguresContext): Promise<RunFigures> {
  const { tables, prepare } = await readTables(asked, context);
  const request = withinRows(asked, tables.rows);
  const location = await context.places.modelFiles(request.model);
  const { config } = await openWeights(location);
  const tokens = countTokens(tables, await openTokenizer(location, config), request);
  const shape = workShape(tokens, request);
  const { fingerprint } = context;
  const key = digestOf({ fingerprint, config, shape, precision: request.precision, version: 1 });
  const calibration = await context.remember(key, () => calibrate(config, kernelsFor(request.precision), shape));
  return {
    layers: config.layers,
    rows: tables.rows,
    newTokens: { base: request.generation.maxNewTokens, tuned: tokens.untilDone },
    units: { microBatch: shape.microBatchSize, tile: shape.tileRows, titles: shape.encodeRows },
    calibration,
    peakBytes: peakBytes(config, tokens, request, context.backendBytes),
    ...(prepare && { prepare }),
  };
}

/** No micro-batch and no tile is larger than all there is. */
function withinRows(request: FiguresRequest, { titles, train, valid, test }: RunFigures['rows']): FiguresRequest {
  const { generation, encodeRows, microBatchSize } = request;
  const tileRows = Math.min(generation.tileRows, Math.max(1, train, valid, test));
  return {
    ...request,
    generation: { ...generation, tileRows },
    encodeRows: Math.min(encodeRows, Math.max(1, titles)),
    microBatchSize: Math.min(microBatchSize, Math.max(1, train)),
  };
}

type Tables = Pick<PreparedData, 'items' | 'titles' | 'windowsTrain'> & { rows: RunFigures['rows'] };

/** From the store, or from a preparation of its own whose result is thrown away. */
async function readTables({ prepared, data, seed }: FiguresRequest, { store, places }: FiguresContext) {
  if (prepared && store) {
    const read = (name: string) => store.getBytes(prepared[name] as ArtifactRef);
    const [items, titles, windowsTrain] = [await read('items'), await read('titles'), await read('windowsTrain')];
    const count = (name: string) => prepared[name]?.rows ?? 0;
    const rows = {
      titles: count('titles'),
      train: count('windowsTrain'),
      valid: count('windowsValid'),
      test: count('windowsTest'),
    };
    return { tables: { items, titles, windowsTrain, rows } as Tables };
  }
  const tmpDir = await mkdtemp(join(tmpdir(), 'softflow-plan-'));
  const began = performance.now();
  try {
    const { source, ...params } = data as { source: unknown } & Omit<PrepareParams, 'seed'>;
    const found = await places.dataSource(source);
    const readable = needsSnapshot(found, params)
      ? { snapshot: (await snapshotSource(found, params, { ...DUCK, tmpDir })).snapshot }
      : (found as ResolvedDataSource);
    const made = await prepareData(readable, { ...params, seed }, { ...DUCK, tmpDir });
    const { titles, windows } = made.result;
    const seconds = (performance.now() - began) / 1000;
    const prepare = { seconds, peakBytes: process.resourceUsage().maxRSS * 1024 };
    return { tables: { ...made, rows: { titles, ...windows } } as Tables, prepare };
  } finally {
    await rm(tmpDir, { recursive: true, force: true });
  }
}

interface TokenCounts {
  prefix: number;
  rest: number;
  answer: number;
  title: number;
  /** New tokens after which a tuned model has ended all beams of a prompt, on average. */
  untilDone: number;
}

function countTokens(
  { items, titles, windowsTrain }: Tables,
  tokenizer: Tokenizer,
  request: FiguresRequest,
): TokenCounts {
  const itemRows = decodeItems(items);
  const windows = decodeWindows(windowsTrain).slice(0, SAMPLED);
  const prompts = encodePrompts(windows, itemRows, tokenizer, request.prompt);
  const prefix = sharedPrefix(prompts);
  const answers = windows.map(({ target }) => encodeTarget(itemRows, target, tokenizer).length);
  const { beamWidth, maxNewTokens } = request.generation;
  // A prompt is done with its last beam: the longest of as many answers.
  const longest = mean(answers.map((_, i) => Math.max(...neighbours(answers, i, beamWidth))));
  return {
    prefix,
    rest: Math.round(mean(prompts.map(({ length }) => length - prefix))),
    answer: Math.round(mean(answers)),
    title: Math.round(
      mean(
        decodeTitles(titles)
          .slice(0, SAMPLED)
          .map(({ title }) => encodeForEmbedding(title, tokenizer).length),
      ),
    ),
    untilDone: RAMBLING * maxNewTokens + (1 - RAMBLING) * Math.min(maxNewTokens, longest),
  };
}

const neighbours = (values: readonly number[], from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => values[(from + i) % values.length] as number);

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

/** One micro-batch and one tile as they are on average, small enough to be measured in a moment. */
function workShape({ prefix, rest, answer, title }: TokenCounts, request: FiguresRequest): WorkShape {
  const atMost = (rows: number, tokensPerRow: number, limit: number) =>
    Math.max(1, Math.min(rows, Math.floor(limit / Math.max(1, tokensPerRow))));
  return {
    ...{ prefix, rest, answer, title },
    microBatchSize: atMost(request.microBatchSize, rest + 2 * answer, MAX_TRAINING_TOKENS),
    tileRows: atMost(request.generation.tileRows, rest, MAX_TILE_TOKENS),
    encodeRows: atMost(request.encodeRows, title, MAX_TILE_TOKENS),
    beamWidth: request.generation.beamWidth,
    lora: request.lora,
  };
}

function peakBytes(
  config: ModelConfig,
  { prefix, rest, answer, title }: TokenCounts,
  { precision, lora, generation, microBatchSize, encodeRows }: FiguresRequest,
  backendBytes: number,
): RunFigures['peakBytes'] {
  const weights = weightBytes(config, precision);
  const { tileRows, beamWidth, maxNewTokens } = generation;
  const trained = prefix + microBatchSize * (rest + 2 * answer);
  // The weights' bytes on the host are given back only once somebody needs the space.
  const loaded = backendBytes + 2 * weights;
  const tile = { promptTokens: prefix + tileRows * rest, beams: tileRows * beamWidth, maxNewTokens };
  const training = trainingBytes(config, lora, trained, 2 * microBatchSize * answer);
  return {
    encode: loaded + embeddingBytes(config, encodeRows * title),
    train: (loaded + training) * GAPS,
    generate: (loaded + generationBytes(config, tile)) * GAPS,
  };
}
