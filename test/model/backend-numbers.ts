import { embedTile } from '../../model/embedding.ts';
import { generateTile } from '../../model/generation.ts';
import { kernelsFor } from '../../model/kernel-sets.ts';
import { uploadAdapter } from '../../model/lora.ts';
import { packBatch } from '../../model/packing.ts';
import { softLoss } from '../../model/soft-loss.ts';
import { tf } from '../../model/tf.ts';
import { LORA, loadTiny, someAdapter, someSamples, TINIEST } from './tiny-samples.ts';

/** What a backend computes, in a form that goes from process to process. */
export interface BackendNumbers {
  targetSum: number;
  distilledSum: number;
  gradients: Record<string, number[]>;
  embedding: number[];
  beams: number[][];
  /** Tensors that are left when everything was given back. */
  leaked: number;
}

/** Loss, gradients, an embedding and beams of the tiniest model on the open backend. */
export async function computeNumbers(): Promise<BackendNumbers> {
  const before = tf.memory().numTensors;
  const model = await loadTiny(kernelsFor('f32'), TINIEST);
  const adapter = uploadAdapter(model.config, LORA, someAdapter(model));
  const loss = softLoss(model, adapter, packBatch(someSamples(2), 3), { target: 0.1, distilled: 0.1 });
  const embedding = embedTile(model, [[5, 6, 7]]);
  const options = { beamWidth: 2, maxNewTokens: 3, endIds: [0], prefix: 1, lora: adapter };
  const [beams] = await generateTile(
    model,
    [
      [5, 6, 7],
      [5, 9],
    ],
    options,
  );
  adapter.dispose();
  model.dispose();
  return {
    targetSum: loss.targetSum,
    distilledSum: loss.distilledSum,
    gradients: Object.fromEntries([...loss.gradients].map(([name, values]) => [name, [...values]])),
    embedding: [...embedding],
    beams: beams!.map(({ ids }) => ids),
    leaked: tf.memory().numTensors - before,
  };
}

/** Below this a norm is that of rounding alone: what should be 0. */
const ZERO = 0.1;

/** ||actual - expected|| / ||expected||. */
export function relativeDifference(actual: readonly number[], expected: readonly number[]): number {
  const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return norm(actual.map((x, i) => x - expected[i]!)) / Math.max(norm(expected), ZERO);
}

/** The largest relative difference of two backends' losses, gradients and embeddings. */
export function largestDifference(actual: BackendNumbers, expected: BackendNumbers): number {
  const pairs: [readonly number[], readonly number[]][] = [
    [[actual.targetSum], [expected.targetSum]],
    [[actual.distilledSum], [expected.distilledSum]],
    [actual.embedding, expected.embedding],
    ...Object.entries(expected.gradients).map(([name, gradient]): [number[], number[]] => [
      actual.gradients[name]!,
      gradient,
    ]),
  ];
  return Math.max(...pairs.map(([a, e]) => relativeDifference(a, e)));
}
