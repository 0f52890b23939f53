import type { BaseModel, Projection } from './base-model.ts';
import { layerBackward, layerForward, type Pass, type SavedLayer } from './decoder.ts';
import type { Dropout } from './dropout.ts';
import { packedPass } from './forward.ts';
import { adapterName, type Lora, type LoraPair } from './lora.ts';
import type { PackedBatch } from './packing.ts';
import { type Tensor2D, tf, tidy } from './tf.ts';

/** Weight of each response token's loss: (1 - lambda) / N_y and lambda / N_y-hat of the whole optimiser batch. */
export interface LossWeights {
  target: number;
  distilled: number;
}

export interface SoftLoss {
  /** Sums of token losses, unweighted. */
  targetSum: number;
  distilledSum: number;
  targetTokens: number;
  distilledTokens: number;
  /** Gradient of the weighted loss by adapter tensor name. */
  gradients: Map<string, Float32Array>;
}

/**
 * The SOFT loss of a packed micro-batch and its adapter gradients in one pass:
 * loss = (1 - lambda) CE(x, y) + lambda CE(x, y-hat), both continuing the same prompt.
 * Source: SOFT (arXiv 2505.20771), section 3. Logits exist only where there is loss.
 * @param alive called after each layer
 */
export function softLoss(
  model: BaseModel,
  lora: Lora,
  batch: PackedBatch,
  weights: LossWeights,
  options: { dropout?: Dropout; recompute?: boolean; alive?: () => void } = {},
): SoftLoss {
  const { kernels, config } = model;
  const pass = packedPass(model, batch, { lora, dropout: options.dropout });
  const saved: SavedLayer[] = [];
  const inputs: Tensor2D[] = [kernels.rows(model.embedding, batch.ids)];
  const predicting = Int32Array.from(new Set(batch.lossRows));
  const wantedOf = (layer: number) => (layer === config.layers - 1 ? predicting : undefined);
  for (let layer = 0; layer < config.layers; layer++) {
    const forward = layerForward(model, layer, inputs[layer] as Tensor2D, pass, wantedOf(layer));
    inputs.push(forward.y);
    if (options.recompute) disposeSaved(forward.saved);
    else saved.push(forward.saved);
    options.alive?.();
  }
  const head = headLoss(model, inputs.pop() as Tensor2D, predicting, batch, weights);
  const gradients = new Map<string, Tensor2D>();
  let dy = head.dx;
  for (let layer = config.layers - 1; layer >= 0; layer--) {
    const x = inputs[layer] as Tensor2D;
    const kept = options.recompute ? recompute(model, layer, x, pass, wantedOf(layer)) : (saved.pop() as SavedLayer);
    const back = layerBackward(model, layer, dy, kept, pass, layer > 0);
    collect(back.gradients, layer, gradients);
    tf.dispose([dy, x]);
    disposeSaved(kept);
    if (back.dx) dy = back.dx;
    options.alive?.();
  }
  pass.dispose();
  return { ...head.sums, gradients: download(gradients) };
}

function recompute(model: BaseModel, layer: number, x: Tensor2D, pass: Pass, wanted?: Int32Array): SavedLayer {
  const { y, saved } = layerForward(model, layer, x, pass, wanted);
  y.dispose();
  return saved;
}

/** Everything a layer saved but its input, which the walk back still owns. */
function disposeSaved(saved: SavedLayer): void {
  const { x: _, ...rest } = saved;
  tf.dispose(rest as never);
}

/**
 * Final norm, logits and cross-entropy on the rows that predict a response token. Disposes `hidden`.
 * @param hidden [n, d], the batch's rows `predicting`; dx has its shape
 */
function headLoss(
  model: BaseModel,
  hidden: Tensor2D,
  predicting: Int32Array,
  batch: PackedBatch,
  weights: LossWeights,
) {
  const { kernels, config } = model;
  const places = new Map(Array.from(predicting, (row, place) => [row, place]));
  const { loss, dx } = tidy(() => {
    const rows = tf.tensor1d(
      batch.lossRows.map((row) => places.get(row)!),
      'int32',
    );
    const x = tf.gather(hidden, rows) as Tensor2D; // [losses, d]
    const { y, r } = kernels.rmsNorm(x, model.finalNorm, config.normEps);
    const [logits] = kernels.linear(y, [model.head]);
    const { loss, dLogits } = kernels.crossEntropy(logits!, batch.lossIds);
    const perRow = Float32Array.from(batch.lossIsDistilled, (d) => (d === 1 ? weights.distilled : weights.target));
    const dy = tf.mul(kernels.linearGrad([dLogits], [model.head]), tf.tensor2d(perRow, [perRow.length, 1])) as Tensor2D;
    const dRows = kernels.rmsNormGrad([dy], x, model.finalNorm, r);
    // A row may predict both the first token of y and of y-hat, so gradients are added: a product with the one-hot rows.
    const place = tf.cast(tf.oneHot(rows, hidden.shape[0]), 'float32') as Tensor2D; // [losses, n]
    return { loss, dx: tf.matMul(place, dRows, true, false) as Tensor2D };
  });
  const sums = sumLosses(loss.dataSync() as Float32Array, batch);
  tf.dispose([loss, hidden]);
  return { sums, dx };
}

function sumLosses(losses: Float32Array, batch: PackedBatch) {
  const sums = { targetSum: 0, distilledSum: 0, targetTokens: 0, distilledTokens: 0 };
  losses.forEach((loss, i) => {
    if (batch.lossIsDistilled[i] === 1) {
      sums.distilledSum += loss;
      sums.distilledTokens++;
    } else {
      sums.targetSum += loss;
      sums.targetTokens++;
    }
  });
  return sums;
}

/** Adds a layer's adapter gradients, by name. */
function collect(
  layerGradients: ReturnType<typeof layerBackward>['gradients'],
  layer: number,
  into: Map<string, Tensor2D>,
) {
  for (const [projection, { a, b }] of Object.entries(layerGradients) as [Projection, LoraPair][]) {
    into.set(adapterName(layer, projection, 'A'), a);
    into.set(adapterName(layer, projection, 'B'), b);
  }
}

/** Reads all gradients at once and frees them: every read waits for the device. */
function download(gradients: Map<string, Tensor2D>): Map<string, Float32Array> {
  const tensors = [...gradients.values()];
  const whole = tidy(() => tf.concat(tensors.map((tensor) => tf.reshape(tensor, [-1]))));
  const values = whole.dataSync() as Float32Array;
  const read = new Map<string, Float32Array>();
  let at = 0;
  for (const [name, { size }] of gradients) {
    read.set(name, values.slice(at, at + size));
    at += size;
  }
  tf.dispose([whole, ...tensors]);
  return read;
}
