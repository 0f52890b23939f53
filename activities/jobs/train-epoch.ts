import { saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { SoftflowError } from '../../errors.ts';
import type { BaseModel } from '../../model/base-model.ts';
import { placedDropout } from '../../model/dropout.ts';
import { usefulFlops } from '../../model/flops.ts';
import { type Lora, uploadAdapter } from '../../model/lora.ts';
import { knownMatmulRate } from '../../model/matmul-rate.ts';
import { adamWStep } from '../../model/optimizer.ts';
import { packBatch } from '../../model/packing.ts';
import { ADAPTER_WEIGHTS, encodePeftAdapter } from '../../model/peft.ts';
import { type SoftLoss, softLoss } from '../../model/soft-loss.ts';
import { encodeTrainingState, type TrainingState } from '../../model/training-state.ts';
import type { StepInput, TrainEpochParams, TrainEpochResult } from '../contracts.ts';
import { finishStep } from '../step-result.ts';
import { DrainedError, type JobContext } from '../trainer-protocol.ts';
import { begin, type EpochFigures, positionOf, readSamples } from './begin-epoch.ts';
import { type PlannedStep, planEpoch } from './epoch-plan.ts';
import { sharedPrefix } from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';
import { resumesOf } from './tiles.ts';

type Input = StepInput<TrainEpochParams>;

/** One epoch of SFT (lambda 0) or of the curriculum: resumes at the micro-batch where the last checkpoint lies. */
export async function trainEpoch(session: TensorSession, input: Input, context: JobContext) {
  const { params } = input;
  const { model, tokenizer } = await session.load(params, context);
  const samples = await readSamples(input, context, tokenizer);
  const prefix = sharedPrefix(samples.map(({ prompt }) => prompt));
  const plan = planEpoch(samples, params);
  const begun = await begin(input, context, model, plan);
  const epoch = new Epoch(input, context, model, plan, prefix, begun.state, begun.figures);
  await epoch.run();
  return finish(input, context, epoch);
}

/** An epoch in progress. */
class Epoch {
  state: TrainingState;
  figures: EpochFigures;
  private readonly input: Input;
  private readonly context: JobContext;
  private readonly model: BaseModel;
  private readonly plan: PlannedStep[];
  private readonly prefix: number;
  private lastSave = Date.now();
  private readonly started = Date.now();
  private samplesDone = 0;
  private tokensDone = 0;
  private flopsDone = 0;
  private microBatchesDone = 0;
  /** In passes and optimiser. */
  computeSeconds = 0;

  constructor(
    input: Input,
    context: JobContext,
    model: BaseModel,
    plan: PlannedStep[],
    prefix: number,
    state: TrainingState,
    figures: EpochFigures,
  ) {
    this.input = input;
    this.context = context;
    this.model = model;
    this.plan = plan;
    this.prefix = prefix;
    this.state = state;
    this.figures = { ...figures, stepLosses: [...figures.stepLosses] };
  }

  async run(): Promise<void> {
    for (let step = this.figures.step; step < this.plan.length; step++) {
      const { microBatches } = this.plan[step] as PlannedStep;
      const adapter = uploadAdapter(this.model.config, this.input.params.lora, this.state.parameters);
      try {
        for (let i = this.figures.microBatch; i < microBatches.length; i++) {
          await this.stopOrSave();
          this.report();
          this.add(this.runMicroBatch(adapter, microBatches[i]!), i);
        }
      } finally {
        adapter.dispose();
      }
      this.endStep(step);
    }
  }

  private runMicroBatch(adapter: Lora, { samples, weights }: PlannedStep['microBatches'][number]): SoftLoss {
    const { lora, seed, stage } = this.input.params;
    const batch = packBatch(samples, this.prefix);
    const dropout = placedDropout(batch, { seed, stage, step: this.state.optimizer.step }, lora.dropout);
    const { alive } = this.context;
    const loss = this.computing(() =>
      softLoss(this.model, adapter, batch, weights, { ...(dropout && { dropout }), alive }),
    );
    this.figures.stepLoss += loss.targetSum * weights.target + loss.distilledSum * weights.distilled;
    this.samplesDone += samples.length;
    this.tokensDone += batch.ids.length;
    this.flopsDone += usefulFlops(this.model.config, batch, lora);
    this.microBatchesDone++;
    return loss;
  }

  private computing<T>(work: () => T): T {
    const began = performance.now();
    const result = work();
    this.computeSeconds += (performance.now() - began) / 1000;
    return result;
  }

  /** Gradients are added strictly in the order of the micro-batches. */
  private add(loss: SoftLoss, microBatch: number): void {
    const { figures, state } = this;
    if (!Number.isFinite(loss.targetSum + loss.distilledSum))
      throw this.notFinite('loss', loss.targetSum + loss.distilledSum);
    state.accumulated ??= new Map(
      [...state.parameters].map(([name, { data }]) => [name, new Float32Array(data.length)]),
    );
    for (const [name, sum] of state.accumulated) {
      const added = loss.gradients.get(name) as Float32Array;
      for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (added[i] as number);
    }
    figures.targetSum += loss.targetSum;
    figures.distilledSum += loss.distilledSum;
    figures.targetTokens += loss.targetTokens;
    figures.distilledTokens += loss.distilledTokens;
    figures.microBatch = microBatch + 1;
  }

  private notFinite(what: string, value: number): SoftflowError {
    return new SoftflowError(
      'LOSS_NOT_FINITE',
      `Expected a finite ${what} at ${positionOf(this.input, this.figures, this.plan)}, got ${value}. Lower train.learningRate, then resume.`,
    );
  }

  private endStep(step: number): void {
    const { state, figures } = this;
    const norm = this.computing(() =>
      adamWStep(state.parameters, state.accumulated!, state.optimizer, this.input.params.optimizer),
    );
    // Activations can overflow to a loss that looks sound; the gradient then does not.
    if (!Number.isFinite(norm)) throw this.notFinite('gradient', norm);
    delete state.accumulated;
    figures.stepLosses.push(figures.stepLoss);
    figures.stepLoss = 0;
    figures.step = step + 1;
    figures.microBatch = 0;
  }

  /** At a micro-batch's border: writes a checkpoint when it is time, and stops when asked to. */
  private async stopOrSave(): Promise<void> {
    await this.context.breathe();
    const draining = this.context.draining();
    const due = Date.now() - this.lastSave >= this.input.circumstances.checkpointEverySeconds * 1000;
    if (draining || due) await this.save();
    if (draining) throw new DrainedError(positionOf(this.input, this.figures, this.plan));
  }

  private async save(): Promise<void> {
    const { epoch } = this.input.params;
    const { step, microBatch } = this.figures;
    const { checkpointsKept } = this.input.circumstances;
    this.state.figures = this.figures;
    const began = performance.now();
    const blob = encodeTrainingState(this.state);
    await saveCheckpoint(this.context.store, this.input.key, {
      position: [epoch, step, microBatch],
      fingerprint: this.context.fingerprint,
      blob,
      ...(checkpointsKept === undefined ? {} : { keep: { last: checkpointsKept } }),
    });
    this.context.saved({ seconds: (performance.now() - began) / 1000, bytes: blob.byteLength });
    this.lastSave = Date.now();
  }

  private report(): void {
    const { figures } = this;
    const total = samplesOf(this.plan);
    const done = samplesOf(this.plan.slice(0, figures.step)) + samplesOf([this.plan[figures.step]], figures.microBatch);
    const { seconds: _, rate, ...speed } = this.rates();
    this.context.progress({
      step: 'trainEpoch',
      position: positionOf(this.input, figures, this.plan),
      done,
      total,
      unit: 'samples',
      ...(this.samplesDone > 0 && { rate, ...speed, secondsLeft: (total - done) / rate, loss: this.meanLoss() }),
    });
  }

  /** (1 - lambda) CE(y) + lambda CE(y-hat) over the tokens so far. */
  meanLoss(): number {
    const { lambda } = this.input.params;
    const { targetSum, targetTokens, distilledSum, distilledTokens } = this.figures;
    return (
      (1 - lambda) * (targetTokens ? targetSum / targetTokens : 0) +
      lambda * (distilledTokens ? distilledSum / distilledTokens : 0)
    );
  }

  /** Figures of this attempt. The machine's limit is measured in a process after the first micro-batch. */
  rates() {
    const seconds = Math.max((Date.now() - this.started) / 1000, 1e-3);
    const reached = this.flopsDone / seconds;
    const limit =
      this.microBatchesDone === 0
        ? undefined
        : knownMatmulRate(
            this.model.config,
            this.input.params.precision,
            Math.round(this.tokensDone / this.microBatchesDone),
            reached,
          );
    return {
      seconds,
      rate: this.samplesDone / seconds,
      tokensPerSecond: this.tokensDone / seconds,
      ...(limit !== undefined && { mfu: reached / limit }),
    };
  }
}

/** Samples of the steps, or of the first so many micro-batches of each. */
function samplesOf(plan: readonly (PlannedStep | undefined)[], microBatches?: number): number {
  return plan
    .flatMap((step) => step?.microBatches.slice(0, microBatches) ?? [])
    .reduce((sum, { samples }) => sum + samples.length, 0);
}

async function finish(input: Input, context: JobContext, epoch: Epoch) {
  const { store, fingerprint } = context;
  const { params } = input;
  const { state, figures } = epoch;
  const put = (bytes: Uint8Array) => store.putBytes(bytes);
  const adapter = encodePeftAdapter({
    parameters: state.parameters,
    lora: params.lora,
    baseModel: params.model.digest,
  });
  const result: TrainEpochResult = {
    epoch: params.epoch,
    trainLoss: epoch.meanLoss(),
    lossTarget: figures.targetTokens ? figures.targetSum / figures.targetTokens : null,
    lossDistilled: figures.distilledTokens ? figures.distilledSum / figures.distilledTokens : null,
    stepLosses: figures.stepLosses,
    targetTokens: figures.targetTokens,
    distilledTokens: figures.distilledTokens,
    globalStep: state.optimizer.step,
  };
  state.figures = null;
  return finishStep(store, input, {
    outputs: {
      state: await put(encodeTrainingState(state)),
      adapter: await put(adapter.get(ADAPTER_WEIGHTS) as Uint8Array),
    },
    result,
    fingerprint,
    telemetry: {
      ...epoch.rates(),
      computeSeconds: epoch.computeSeconds,
      resumes: await resumesOf(store, input.key),
      unit: 'samples',
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    },
  });
}
