import type { Precision } from '../activities/contracts.ts';
import { placedDropout } from '../model/dropout.ts';
import { initialAdapter, uploadAdapter } from '../model/lora.ts';
import { adamWStep, initialOptimizerState } from '../model/optimizer.ts';
import { packBatch } from '../model/packing.ts';
import { softLoss } from '../model/soft-loss.ts';
import { lossWeights, SoftflowBench } from './softflow-bench.ts';
import type { Work } from './work.ts';

export interface Following {
  steps: number;
  losses: Record<Precision, number[]>;
  /** Largest |bf16 / f32 - 1| of a step's loss, and of the mean of all. */
  largest: number;
  mean: number;
}

/** High enough that the loss falls within tens of steps. */
const LEARNING_RATE = 1e-3;

/** Trains the same steps from the same start in both precisions and compares the losses. */
export async function measureFollowing(work: Work, steps: number, say: (line: string) => void): Promise<Following> {
  const losses = { f32: await train(work, 'f32', steps), bf16: await train(work, 'bf16', steps) };
  const deviations = losses.f32.map((loss, step) => Math.abs(losses.bf16[step]! / loss - 1));
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const result = {
    steps,
    losses,
    largest: Math.max(...deviations),
    mean: Math.abs(sum(losses.bf16) / sum(losses.f32) - 1),
  };
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
  const [first, last] = [losses.f32[0]!, losses.f32.at(-1)!];
  say(`f32 loss ${first.toFixed(4)} -> ${last.toFixed(4)} in ${steps} steps`);
  say(`bf16 against f32: at most ${percent(result.largest)} in a step, ${percent(result.mean)} over all`);
  return result;
}

async function train(work: Work, precision: Precision, steps: number): Promise<number[]> {
  const bench = await SoftflowBench.open(work, precision);
  const { model } = bench;
  const { lora, seed, train: config } = work.config;
  const parameters = initialAdapter(model.config, lora, seed);
  const state = initialOptimizerState(parameters);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const samples = bench.samples(step * config.microBatchSize);
    const batch = packBatch(samples, work.prefix);
    const dropout = placedDropout(batch, { seed, stage: 'soft', step }, lora.dropout);
    const weights = lossWeights(samples, work.lambda);
    const adapter = uploadAdapter(model.config, lora, parameters);
    const loss = softLoss(model, adapter, batch, weights, { ...(dropout && { dropout }) });
    adapter.dispose();
    losses.push(loss.targetSum * weights.target + loss.distilledSum * weights.distilled);
    adamWStep(parameters, loss.gradients, state, { ...config, learningRate: LEARNING_RATE });
  }
  model.dispose();
  return losses;
}
