import type { Precision, StepInput, StepName, StepResult } from '../activities/contracts.ts';
import { JOBS } from '../activities/jobs/index.ts';
import { sharedPrefix } from '../activities/jobs/job-data.ts';
import { cutTiles } from '../activities/jobs/tiles.ts';
import { keyOfStep } from '../activities/step-result.ts';
import type { JobContext } from '../activities/trainer-protocol.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { openStore } from '../artifacts/store.ts';
import { type BaseModel, loadBaseModel } from '../model/base-model.ts';
import { placedDropout } from '../model/dropout.ts';
import { embedTile } from '../model/embedding.ts';
import { usefulFlops } from '../model/flops.ts';
import { generateTile } from '../model/generation.ts';
import { kernelsFor } from '../model/kernel-sets.ts';
import type { Kernels } from '../model/kernels.ts';
import { type AdapterParameters, type Lora, uploadAdapter } from '../model/lora.ts';
import { matmulRate } from '../model/matmul-rate.ts';
import { packBatch } from '../model/packing.ts';
import { decodePeftAdapter } from '../model/peft.ts';
import { type LossWeights, softLoss } from '../model/soft-loss.ts';
import { openWeights } from '../model/weights.ts';
import { openChosenBackend } from '../workers/backend.ts';
import { machinePlaces } from '../workers/places.ts';
import { stepParams } from '../workflows/step-params.ts';
import type { Answer } from './side.ts';
import type { PipelineWork, Work, WorkSample } from './work.ts';

type Measured = Omit<Answer, 'peakRssBytes'>;

/** softflow's side: the same calls that the trainer makes, loaded once. */
export class SoftflowBench {
  readonly work: Work;
  readonly precision: Precision;
  readonly model: BaseModel;
  readonly parameters: AdapterParameters;
  readonly fingerprint: Record<string, string>;
  private readonly lora: Lora;
  private steps = 0;

  private constructor(work: Work, precision: Precision, loaded: Loaded) {
    this.work = work;
    this.precision = precision;
    this.model = loaded.model;
    this.parameters = loaded.parameters;
    this.fingerprint = loaded.fingerprint;
    this.lora = uploadAdapter(loaded.model.config, work.config.lora, loaded.parameters);
  }

  /** @param makeKernels asked once the backend is open, for instance to put clocks around them */
  static async open(
    work: Work,
    precision: Precision,
    makeKernels: () => Kernels = () => kernelsFor(precision),
  ): Promise<SoftflowBench> {
    const { fingerprint } = await openChosenBackend(work.backend, (message) => process.stderr.write(`${message}\n`));
    const files = await openWeights(work.model);
    const model = await loadBaseModel(files, makeKernels());
    const { parameters } = await decodePeftAdapter(work.adapter);
    return new SoftflowBench(work, precision, { model, parameters, fingerprint });
  }

  samples(first: number, count = this.work.config.train.microBatchSize): WorkSample[] {
    const { train } = this.work;
    return Array.from({ length: count }, (_, i) => train[(first + i) % train.length]!);
  }

  /** Forward and backward of a micro-batch without dropout: what must be equal on both sides. */
  loss(first: number): Measured {
    return this.step(this.samples(first), 0);
  }

  /** Forward and backward of a micro-batch with dropout, the gradients on the host; the mean time of some in a row. */
  trainStep(first: number, steps: number): Measured {
    const { dropout } = this.work.config.lora;
    const made = Array.from({ length: steps }, () => this.step(this.samples(first), dropout));
    return { ...made[0]!, seconds: made.reduce((sum, { seconds }) => sum + seconds, 0) / steps };
  }

  step(samples: readonly WorkSample[], dropoutRate: number): Measured {
    const { work, model, lora } = this;
    const began = performance.now();
    const batch = packBatch(samples, work.prefix);
    const dropout = placedDropout(batch, { seed: 42, stage: 'bench', step: this.steps++ }, dropoutRate);
    const weights = lossWeights(samples, work.lambda);
    const result = softLoss(model, lora, batch, weights, { ...(dropout && { dropout }) });
    const seconds = (performance.now() - began) / 1000;
    return {
      seconds,
      loss: result.targetSum * weights.target + result.distilledSum * weights.distilled,
      gradientNorm: normOf(result.gradients.values()),
      tokens: batch.ids.length,
      flops: usefulFlops(model.config, batch, work.config.lora),
    };
  }

  async generate(count: number): Promise<Measured> {
    const prompts = this.work.test.slice(0, count).map(({ prompt }) => prompt);
    const { beamWidth, maxNewTokens, tileRows } = this.work.config.generation;
    const beams: { ids: number[]; score: number }[] = new Array(prompts.length);
    const began = performance.now();
    const tiles = cutTiles(
      prompts.map((prompt) => prompt.length),
      tileRows,
    );
    const options = { beamWidth, maxNewTokens, endIds: [this.work.endId], prefix: sharedPrefix(prompts) };
    for (const tile of tiles) {
      const found = await generateTile(
        this.model,
        tile.map((row) => prompts[row]!),
        { ...options, lora: this.lora },
      );
      tile.forEach((row, i) => {
        beams[row] = found[i]![0]!;
      });
    }
    return { seconds: (performance.now() - began) / 1000, beams };
  }

  encode(): Measured {
    const { titles, config } = this.work;
    const began = performance.now();
    const tiles = cutTiles(
      titles.map((ids) => ids.length),
      config.encode.tileRows,
    );
    const vectors = tiles.map((tile) =>
      embedTile(
        this.model,
        tile.map((row) => titles[row]!),
      ),
    );
    const seconds = (performance.now() - began) / 1000;
    const size = this.model.config.hiddenSize;
    const norms = vectors.flatMap((tile) =>
      Array.from({ length: tile.length / size }, (_, i) => Math.hypot(...tile.subarray(i * size, (i + 1) * size))),
    );
    return { seconds, norm: norms.reduce((sum, norm) => sum + norm, 0) / norms.length };
  }

  matmulRate(tokens: number): Measured {
    return { seconds: 0, rate: matmulRate(this.model.config, this.precision, tokens, 2) };
  }
}

interface Loaded {
  model: BaseModel;
  parameters: AdapterParameters;
  fingerprint: Record<string, string>;
}

/** Means over the response tokens of y and of y-hat. */
export function lossWeights(samples: readonly WorkSample[], lambda: number): LossWeights {
  const count = (part: 'target' | 'distilled') => samples.reduce((sum, sample) => sum + sample[part].length, 0);
  return { target: (1 - lambda) / count('target'), distilled: lambda / count('distilled') };
}

export function normOf(gradients: Iterable<Float32Array>): number {
  let sum = 0;
  for (const gradient of gradients) for (const value of gradient) sum += value * value;
  return Math.sqrt(sum);
}

/**
 * The whole pipeline by the trainer's own jobs: one SFT epoch, self-distillation, distance, one curriculum epoch, test.
 * The model is loaded and titles are embedded before the clock starts, as on the other side.
 */
export async function runPipeline(work: PipelineWork, precision: Precision): Promise<Measured> {
  const { fingerprint } = await openChosenBackend(work.backend, (message) => process.stderr.write(`${message}\n`));
  const store = await openStore(work.store);
  const context: JobContext = {
    store,
    fingerprint,
    modelFiles: machinePlaces.modelFiles,
    progress: () => {},
    alive: () => {},
    saved: () => {},
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    draining: () => false,
  };
  const config = { ...work.config, model: { ...work.config.model, precision } };
  const model = { source: config.model.source, digest: work.modelDigest };
  const params = stepParams(config, { model, data: { digest: '' } });
  const parts: Record<string, number> = {};
  const run = async (part: string, step: StepName, inputs: Record<string, ArtifactRef>, stepInput: unknown) => {
    const began = performance.now();
    const circumstances = {
      runId: 'bench',
      checkpointEverySeconds: config.checkpoint.every,
      allowDifferentBackend: false,
      stallTimeoutSeconds: config.stallTimeout,
    };
    const input: StepInput<unknown> = {
      step,
      key: keyOfStep(step, inputs, stepInput),
      inputs,
      params: stepInput,
      circumstances,
    };
    const result = (await JOBS[step]!(input, context)) as StepResult<unknown>;
    parts[part] = (performance.now() - began) / 1000;
    return result.outputs;
  };
  const { items, titles, windowsTrain, windowsTest } = work.tables;
  const data = { items, titles, windows: windowsTrain };
  const { embeddings } = await run('encodeTitles', 'encodeTitles', { titles }, params.encodeTitles());
  const sft = await run('sft', 'trainEpoch', data, params.trainEpoch('sft', 1, 0));
  const { distilled } = await run(
    'selfDistill',
    'selfDistill',
    { ...data, adapter: sft['adapter']! },
    params.selfDistill(),
  );
  const grounded = { ...data, embeddings: embeddings! };
  await run('distance', 'measureDistance', grounded, params.measureDistance());
  const curriculum = { ...data, distilled: distilled! };
  const soft = await run('curriculum', 'trainEpoch', curriculum, params.trainEpoch('soft', 1, work.lambda));
  const tested = { ...grounded, windows: windowsTest, adapter: soft['adapter']! };
  await run('test', 'evaluate', tested, params.evaluate());
  const { encodeTitles: _, ...timed } = parts;
  return { seconds: Object.values(timed).reduce((sum, part) => sum + part, 0), parts: timed };
}
