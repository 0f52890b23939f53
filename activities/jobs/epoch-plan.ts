import { sha256Hex } from '../../artifacts/canonical-json.ts';
import type { Sample } from '../../model/packing.ts';
import type { LossWeights } from '../../model/soft-loss.ts';

/** The micro-batches of one optimiser step and how each one's token losses are weighed. */
export interface PlannedStep {
  microBatches: { samples: Sample[]; weights: LossWeights }[];
}

export interface EpochPlanOptions {
  epoch: number;
  seed: number;
  batchSize: number;
  microBatchSize: number;
  lambda: number;
  lossAverage: 'batch' | 'microBatch';
}

/**
 * The epoch's optimiser steps: a pure function of the samples, the seed and the epoch. Samples are ordered by a hash
 * of (seed, epoch, window id); a short last batch is kept.
 */
export function planEpoch(samples: readonly Sample[], options: EpochPlanOptions): PlannedStep[] {
  const place = ({ windowId }: Sample) => sha256Hex(Buffer.from(`${options.seed}:${options.epoch}:${windowId}`));
  const order = samples.map((sample) => ({ sample, place: place(sample) }));
  order.sort((a, b) => (a.place < b.place ? -1 : a.place > b.place ? 1 : 0));
  return chunk(
    order.map(({ sample }) => sample),
    options.batchSize,
  ).map((batch) => {
    const parts = chunk(batch, options.microBatchSize);
    const whole = lossWeights(batch, options.lambda, 1);
    return {
      microBatches: parts.map((part) => ({
        samples: part,
        weights: options.lossAverage === 'batch' ? whole : lossWeights(part, options.lambda, parts.length),
      })),
    };
  });
}

/** (1 - lambda) / N_y and lambda / N_y-hat, over `parts` equal parts. */
function lossWeights(samples: readonly Sample[], lambda: number, parts: number): LossWeights {
  const tokens = (of: (sample: Sample) => ArrayLike<number> | undefined) =>
    samples.reduce((sum, sample) => sum + (of(sample)?.length ?? 0), 0);
  const share = (weight: number, count: number) => (count === 0 ? 0 : weight / count / parts);
  return {
    target: share(
      1 - lambda,
      tokens(({ target }) => target),
    ),
    distilled: share(
      lambda,
      tokens(({ distilled }) => distilled),
    ),
  };
}

function chunk<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => values.slice(i * size, (i + 1) * size));
}
