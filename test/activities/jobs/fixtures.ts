import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type {
  Circumstances,
  GenerationParams,
  LoraParams,
  Progress,
  PromptParams,
  StepInput,
  StepName,
  StepResult,
  TensorParams,
  TrainEpochParams,
} from '../../../activities/contracts.ts';
import { keyOfStep } from '../../../activities/step-result.ts';
import type { JobContext, Jobs } from '../../../activities/trainer-protocol.ts';
import type { ArtifactRef } from '../../../artifacts/artifact-ref.ts';
import { openStore, type Store } from '../../../artifacts/store.ts';
import type { ItemRow, TitleRow, WindowRow } from '../../../datasets/schemas.ts';
import { encodeDistilled, encodeItems, encodeTitles, encodeWindows } from '../../../datasets/tables.ts';
import { tinyModel, writeTinyModel } from '../../../model/tiny-model.ts';
import { openTokenizer, type Tokenizer } from '../../../model/tokenizer.ts';
import { openWeights } from '../../../model/weights.ts';

export const FINGERPRINT = { backend: 'test', threads: '2' };

const ITEMS = ['Amber Bay', 'Amber Bell', 'Amber Bay II', 'Calm Coast', 'Calm Comet', 'Lost Orchid', 'Lost Oasis'];

/** A catalogue of seven titles; items 0 and 7 share the first one. */
export const CATALOGUE: { items: ItemRow[]; titles: TitleRow[] } = {
  items: [...ITEMS, 'Amber Bay'].map((title, i) => ({ itemId: `i${i}`, title, titleRow: i % ITEMS.length })),
  titles: ITEMS.map((title, firstItem) => ({ title, firstItem, popularity: 0 })),
};

/** Ten windows of two or three items. */
export const WINDOWS: WindowRow[] = Array.from({ length: 10 }, (_, i) => ({
  windowId: `u${i}:3`,
  userId: `u${i}`,
  targetIndex: 3,
  history: Array.from({ length: 2 + (i % 2) }, (_, h) => (i * 3 + h * 2) % 8),
  target: (i * 5 + 1) % 8,
  targetTimeMs: BigInt(1_000_000 + i),
}));

export const PROMPT: PromptParams = {
  noun: 'movies',
  nounSingular: 'movie',
  verb: 'watched',
  template: '{verb}: {history}\n',
  maxTokens: 200,
  truncate: 'left',
};

export const LORA: LoraParams = { rank: 4, loraAlpha: 8, dropout: 0.1, targets: ['q_proj', 'v_proj'] };
export const GENERATION: GenerationParams = { beamWidth: 2, maxNewTokens: 4, constrain: 'none', tileRows: 4 };

const TRAINING: Omit<TrainEpochParams, keyof TensorParams> = {
  stage: 'soft',
  epoch: 1,
  lambda: 0.5,
  prompt: PROMPT,
  lora: LORA,
  optimizer: { learningRate: 1e-2, warmupSteps: 2, weightDecay: 0, maxGradNorm: 1 },
  batchSize: 4,
  microBatchSize: 2,
  lossAverage: 'batch',
  seed: 7,
};

/** A tiny model on disk and a folder for stores, until `remove`. */
export class Workshop {
  readonly folder: string;
  readonly model: TensorParams;
  readonly tokenizer: Tokenizer;
  private stores = 0;

  private constructor(folder: string, model: TensorParams, tokenizer: Tokenizer) {
    this.folder = folder;
    this.model = model;
    this.tokenizer = tokenizer;
  }

  static async open(): Promise<Workshop> {
    const folder = await mkdtemp(join(tmpdir(), 'softflow-jobs-'));
    const shape = { hiddenSize: 32, heads: 2, kvHeads: 1, ffnSize: 48, corpus: ITEMS.join(' '), vocabSize: 280 };
    const source = { folder: join(folder, 'model') };
    await writeTinyModel(source.folder, shape);
    const { digest } = await openWeights(source);
    const tokenizer = await openTokenizer(source, tinyModel(shape).config);
    return new Workshop(folder, { model: { source, digest }, precision: 'f32' }, tokenizer);
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true });
  }

  get training(): TrainEpochParams {
    return { ...this.model, ...TRAINING };
  }

  async newStore(): Promise<Store> {
    return openStore(join(this.folder, `store-${this.stores++}`), { create: true });
  }

  /** The tables of a run that begins, in a store; the distilled answers are other titles of the catalogue. */
  async putTables(store: Store): Promise<Record<'items' | 'titles' | 'windows' | 'distilled', ArtifactRef>> {
    const distilled = WINDOWS.map(({ windowId, target }) => {
      const text = ITEMS[(target + 3) % ITEMS.length]!;
      const tokenIds = this.tokenizer.encode(`"${text}"`);
      return { windowId, text, tokenIds, logProbability: -1, beamTexts: [text], beamScores: [-1] };
    });
    return {
      items: await store.putBytes(encodeItems(CATALOGUE.items)),
      titles: await store.putBytes(encodeTitles(CATALOGUE.titles)),
      windows: await store.putBytes(encodeWindows(WINDOWS)),
      distilled: await store.putBytes(encodeDistilled(distilled)),
    };
  }
}

export function stepInput<Params>(
  step: StepName,
  inputs: Record<string, ArtifactRef>,
  params: Params,
  circumstances: Partial<Circumstances> = {},
): StepInput<Params> {
  return {
    step,
    key: keyOfStep(step, inputs, params),
    inputs,
    params,
    circumstances: {
      runId: 'test',
      checkpointEverySeconds: 3600,
      allowDifferentBackend: false,
      stallTimeoutSeconds: 60,
      ...circumstances,
    },
  };
}

export interface TestContext extends JobContext {
  reported: Progress[];
  /** How often the job has asked whether to stop. */
  borders: number;
}

/** @param drainAt asks the job to stop at its n-th border, counted from 1 */
export function contextOf(store: Store, { drainAt = 0, fingerprint = FINGERPRINT } = {}): TestContext {
  const context: TestContext = {
    store,
    fingerprint,
    reported: [],
    borders: 0,
    modelFiles: async (source) => source as { folder: string },
    progress: (progress) => context.reported.push(progress),
    alive: () => {},
    saved: () => {},
    breathe: () => setImmediate(),
    draining: () => ++context.borders === drainAt,
  };
  return context;
}

/** Runs a step to its end. */
export async function runStep<Result>(
  jobs: Jobs,
  input: StepInput<unknown>,
  context: JobContext,
): Promise<StepResult<Result>> {
  return (await jobs[input.step]!(input, context)) as StepResult<Result>;
}
