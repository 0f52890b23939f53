import { describe, expect, it } from 'vitest';
import { type EpochPlanOptions, planEpoch } from '../../../activities/jobs/epoch-plan.ts';
import type { Sample } from '../../../model/packing.ts';

const OPTIONS: EpochPlanOptions = {
  epoch: 1,
  seed: 42,
  batchSize: 4,
  microBatchSize: 2,
  lambda: 0.25,
  lossAverage: 'batch',
};

/** Sample i has i + 1 tokens of y and twice as many of y-hat. */
const samples: Sample[] = Array.from({ length: 11 }, (_, i) => ({
  windowId: `u${i}:9`,
  prompt: [1, 2],
  target: new Int32Array(i + 1),
  distilled: new Int32Array(2 * (i + 1)),
}));

const orderOf = (of: readonly Sample[], options: Partial<EpochPlanOptions> = {}) =>
  planEpoch(of, { ...OPTIONS, ...options }).flatMap(({ microBatches }) =>
    microBatches.flatMap((part) => part.samples.map(({ windowId }) => windowId)),
  );

describe('the order of an epoch', () => {
  it('has every sample once', () => {
    expect(orderOf(samples).sort()).toEqual(samples.map(({ windowId }) => windowId).sort());
  });

  it('is a function of seed, epoch and window ids, not of the order in which samples come', () => {
    expect(orderOf([...samples].reverse())).toEqual(orderOf(samples));
    expect(orderOf(samples, { lambda: 1, lossAverage: 'microBatch' })).toEqual(orderOf(samples));
    const orders = [orderOf(samples), orderOf(samples, { epoch: 2 }), orderOf(samples, { seed: 43 })];
    expect(new Set(orders.map((order) => order.join())).size).toBe(3);
  });

  it('leaves the others in their order when a sample is gone', () => {
    const gone = samples[4]!;
    expect(orderOf(samples.filter((sample) => sample !== gone))).toEqual(
      orderOf(samples).filter((id) => id !== gone.windowId),
    );
  });
});

it('keeps the short last batch and its short last micro-batch', () => {
  const sizes = planEpoch(samples, OPTIONS).map(({ microBatches }) => microBatches.map((part) => part.samples.length));
  expect(sizes).toEqual([
    [2, 2],
    [2, 2],
    [2, 1],
  ]);
});

describe('the weight of a token', () => {
  const tokens = (part: readonly Sample[]) => part.reduce((sum, { target }) => sum + target!.length, 0);

  it('is (1 - lambda) / N_y and lambda / N_y-hat of the whole batch', () => {
    for (const { microBatches } of planEpoch(samples, OPTIONS)) {
      const all = tokens(microBatches.flatMap((part) => part.samples));
      for (const { weights } of microBatches)
        expect(weights).toEqual({ target: 0.75 / all, distilled: 0.25 / (2 * all) });
    }
  });

  it('does not depend on how a batch is cut into micro-batches', () => {
    const cut = (microBatchSize: number) =>
      planEpoch(samples, { ...OPTIONS, microBatchSize }).map(({ microBatches }) => microBatches[0]!.weights);
    expect(cut(1)).toEqual(cut(4));
  });

  it('with averages of micro-batches is that of its own micro-batch over their number', () => {
    for (const { microBatches } of planEpoch(samples, { ...OPTIONS, lossAverage: 'microBatch' }))
      for (const { samples: part, weights } of microBatches) {
        expect(weights.target).toBeCloseTo(0.75 / tokens(part) / microBatches.length, 12);
        expect(weights.distilled).toBeCloseTo(0.25 / (2 * tokens(part)) / microBatches.length, 12);
      }
  });

  it('is 0 for an answer that is not there', () => {
    const sft = samples.map(({ windowId, prompt, target }) => ({ windowId, prompt, target: target! }));
    const [step] = planEpoch(sft, { ...OPTIONS, lambda: 0 });
    expect(step!.microBatches[0]!.weights.distilled).toBe(0);
    expect(step!.microBatches[0]!.weights.target).toBeGreaterThan(0);
  });
});
