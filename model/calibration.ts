import { type BaseModel, loadBaseModel, type WeightSource } from './base-model.ts';
import { waitedSeconds } from './busy-time.ts';
import type { Calibration, Cost } from './cost.ts';
import { placedDropout } from './dropout.ts';
import { embedTile } from './embedding.ts';
import { generateTile } from './generation.ts';
import type { Kernels } from './kernels.ts';
import { initialAdapter, type LoraConfig, uploadAdapter } from './lora.ts';
import type { ModelConfig } from './model-config.ts';
import { packBatch, type Sample } from './packing.ts';
import { softLoss } from './soft-loss.ts';
import { expectedWeights } from './weights.ts';

/** The units of work of a run, in tokens and rows of its own data. */
export interface WorkShape {
  /** Tokens that all prompts share. */
  prefix: number;
  /** Mean tokens of a prompt after them, and of an answer with its end token. */
  rest: number;
  answer: number;
  /** Mean tokens of a catalogue title. */
  title: number;
  microBatchSize: number;
  /** Prompts of a tile of generation, and titles of a tile of embeddings. */
  tileRows: number;
  encodeRows: number;
  beamWidth: number;
  lora: LoraConfig;
}

type Unit = Exclude<keyof Calibration, 'busy'>;

/** Two depths give the cost of a layer and of everything else; the deeper one is no deeper than the model. */
const DEPTHS = { shallow: 2, deep: 8 };
const DECODE_STEPS = 4;
const TIMES = 4;
/** Slow machines measure fewer times. */
const ENOUGH_SECONDS = 2;
/** Seconds that threads may have waited in a second of a machine that does little else. */
const BUSY = 0.5;

/**
 * Measures the units of a run on models of the same shape but few layers, with random weights: seconds, whatever the size
 * of the real model, whose files are not even read.
 */
export async function calibrate(config: ModelConfig, kernels: Kernels, shape: WorkShape): Promise<Calibration> {
  const [began, waited] = [performance.now(), waitedSeconds()];
  const deepest = Math.min(config.layers, DEPTHS.deep);
  const shallowest = Math.min(DEPTHS.shallow, Math.max(1, deepest - 1));
  const measureAt = async (layers: number): Promise<Record<Unit, number>> => {
    const model = await loadBaseModel(randomWeights({ ...config, layers }), kernels);
    try {
      return await measure(model, shape);
    } finally {
      model.dispose();
    }
  };
  const shallow = await measureAt(shallowest);
  const deep = deepest === shallowest ? shallow : await measureAt(deepest);
  const cost = (unit: Unit): Cost => {
    const layer = Math.max(0, (deep[unit] - shallow[unit]) / Math.max(1, deepest - shallowest));
    return { fixed: Math.max(0, deep[unit] - layer * deepest), layer };
  };
  const seconds = (performance.now() - began) / 1000;
  return {
    trainOne: cost('trainOne'),
    trainBoth: cost('trainBoth'),
    read: cost('read'),
    decode: cost('decode'),
    embed: cost('embed'),
    busy: ((waitedSeconds() ?? 0) - (waited ?? 0)) / seconds > BUSY,
  };
}

async function measure(model: BaseModel, shape: WorkShape): Promise<Record<Unit, number>> {
  const trainOne = await trainingSeconds(model, shape, false);
  const trainBoth = await trainingSeconds(model, shape, true);
  const read = await secondsOf(() => generation(model, shape, 1));
  const whole = await secondsOf(() => generation(model, shape, 1 + DECODE_STEPS));
  const titles = rows(shape.encodeRows, () => tokens(model.config, Math.max(1, shape.title)));
  const embed = await secondsOf(() => embedTile(model, titles));
  return { trainOne, trainBoth, read, decode: Math.max(0, whole - read) / DECODE_STEPS, embed };
}

async function trainingSeconds(model: BaseModel, shape: WorkShape, both: boolean): Promise<number> {
  const { config } = model;
  const answer = () => tokens(config, Math.max(1, shape.answer));
  const samples: Sample[] = prompts(config, shape, shape.microBatchSize).map((prompt, i) => ({
    windowId: String(i),
    prompt,
    target: answer(),
    ...(both && { distilled: answer() }),
  }));
  const batch = packBatch(samples, shape.prefix);
  const adapter = uploadAdapter(config, shape.lora, initialAdapter(config, shape.lora, 1));
  const dropout = placedDropout(batch, { seed: 1, stage: 'sft', step: 1 }, shape.lora.dropout);
  const weights = { target: 1, distilled: both ? 1 : 0 };
  try {
    return await secondsOf(() => softLoss(model, adapter, batch, weights, { ...(dropout && { dropout }) }));
  } finally {
    adapter.dispose();
  }
}

function generation(model: BaseModel, shape: WorkShape, maxNewTokens: number) {
  const { beamWidth, prefix, tileRows } = shape;
  return generateTile(model, prompts(model.config, shape, tileRows), { beamWidth, maxNewTokens, endIds: [], prefix });
}

/** The fastest of some times, after one that warms up: what else runs on the machine only adds. */
async function secondsOf(work: () => unknown): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + ENOUGH_SECONDS * 1000;
  for (let time = 0; time < 2 || (time <= TIMES && performance.now() < end); time++) {
    const began = performance.now();
    await work();
    if (time > 0) best = Math.min(best, (performance.now() - began) / 1000);
  }
  return best;
}

function prompts(config: ModelConfig, { prefix, rest }: WorkShape, count: number): number[][] {
  const shared = tokens(config, prefix);
  return rows(count, () => [...shared, ...tokens(config, Math.max(1, rest))]);
}

const rows = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

/** Any tokens do: what they are changes no time. */
function tokens({ vocabSize }: ModelConfig, count: number): number[] {
  return Array.from({ length: Math.round(count) }, (_, i) => (i * 7919) % vocabSize);
}

/** Weights of the right shapes and of no meaning; small, so that nothing overflows. */
function randomWeights(config: ModelConfig): WeightSource {
  const shapes = expectedWeights(config);
  const pattern = Float32Array.from({ length: 4099 }, (_, i) => 0.02 * Math.sin(i * i));
  return {
    config,
    async tensor(name) {
      const shape = shapes.get(name) as number[];
      const data = new Float32Array(shape.reduce((size, width) => size * width, 1));
      for (let at = 0; at < data.length; at += pattern.length)
        data.set(pattern.subarray(0, Math.min(pattern.length, data.length - at)), at);
      return { shape, data };
    },
  };
}
