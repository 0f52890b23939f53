import type { BaseModel, LayerWeights, Projection } from './base-model.ts';
import type { Dropout, DropoutRows } from './dropout.ts';
import type { AttentionLayout, Rotation } from './kernels.ts';
import type { Lora, LoraPair } from './lora.ts';
import { type Tensor, type Tensor1D, type Tensor2D, tf, tidy } from './tf.ts';

/** One pass of tokens through the decoder: everything that does not change from layer to layer. */
export interface Pass {
  rotation: Rotation;
  /** Attention of a layer over what its tokens may see: the packed batch itself, or a key-value cache. */
  attend(layer: number, q: Tensor2D, k: Tensor2D, v: Tensor2D): { o: Tensor2D; saved: Tensor[] };
  /** The gradient needs to know who saw whom. */
  layout?: AttentionLayout;
  lora?: Lora;
  dropout?: Dropout;
}

/** What a projection with an adapter keeps for its gradient. */
interface SavedLora {
  /** Before dropout, [t, in]. */
  input: Tensor2D;
  dropout?: DropoutRows;
  /** dropout(input) . A^T, [t, r]. */
  down: Tensor2D;
}

/** What a layer keeps for its gradient. */
export interface SavedLayer {
  x: Tensor2D;
  r1: Tensor2D;
  q: Tensor2D;
  k: Tensor2D;
  v: Tensor2D;
  qNorm?: SavedHeadNorm;
  kNorm?: SavedHeadNorm;
  o: Tensor2D;
  attention: Tensor[];
  x2: Tensor2D;
  r2: Tensor2D;
  gate: Tensor2D;
  up: Tensor2D;
  lora: Partial<Record<Projection, SavedLora>>;
  /** Rows of the batch that x2, r2, gate and up have, where the layer was asked for some alone. */
  wanted?: Int32Array;
}
interface SavedHeadNorm {
  x: Tensor2D;
  r: Tensor2D;
}

/** Gradient of one projection's adapter. */
export type LayerGradients = Partial<Record<Projection, LoraPair>>;

/**
 * One decoder layer (pre-norm, grouped-query attention, SwiGLU): [t, d] -> [t, d].
 * Source: Touvron et al. 2023; the Llama layer of transformers. The caller disposes `y` and `saved`.
 * @param wanted rows of the result, in this order and each once: the last layer answers only for rows that are read
 */
export function layerForward(
  model: BaseModel,
  layer: number,
  x: Tensor2D,
  pass: Pass,
  wanted?: Int32Array,
): { y: Tensor2D; saved: SavedLayer } {
  const { kernels, config } = model;
  const weights = model.layers[layer] as LayerWeights;
  return tidy(() => {
    const lora: SavedLayer['lora'] = {};
    const project = (projections: readonly Projection[], input: Tensor2D, rows?: Int32Array) =>
      applyProjections(model, layer, projections, input, pass, lora, rows);
    const { y: h1, r: r1 } = kernels.rmsNorm(x, weights.inputNorm, config.normEps);
    const [queries, keys, v] = project(['q_proj', 'k_proj', 'v_proj'], h1) as [Tensor2D, Tensor2D, Tensor2D];
    const query = headNorm(model, queries, weights.qNorm);
    const key = headNorm(model, keys, weights.kNorm);
    const q = kernels.rope(query.y, pass.rotation, config.heads);
    const k = kernels.rope(key.y, pass.rotation, config.kvHeads);
    const { o, saved: attention } = pass.attend(layer, q, k, v);
    const [mixed] = project(['o_proj'], rowsOf(o, wanted), wanted);
    const { sum: x2, y: h2, r: r2 } = kernels.addRmsNorm(rowsOf(x, wanted), mixed!, weights.postNorm, config.normEps);
    const [gate, up] = project(['gate_proj', 'up_proj'], h2, wanted) as [Tensor2D, Tensor2D];
    const [down] = project(['down_proj'], kernels.swiGlu(gate, up), wanted);
    const y = tf.add(x2, down!) as Tensor2D;
    const optional = {
      ...(query.saved && { qNorm: query.saved }),
      ...(key.saved && { kNorm: key.saved }),
      ...(wanted && { wanted }),
    };
    return { y, saved: { x, r1, q, k, v, o, attention, x2, r2, gate, up, lora, ...optional } };
  });
}

/** Some rows of x, or all. */
function rowsOf(x: Tensor2D, wanted: Int32Array | undefined): Tensor2D {
  return wanted === undefined ? x : (tf.gather(x, tf.tensor1d(wanted, 'int32')) as Tensor2D);
}

/** The transpose of `rowsOf`: zeros but for the wanted rows. */
function spread(dy: Tensor2D, wanted: Int32Array | undefined, count: number): Tensor2D {
  if (wanted === undefined) return dy;
  const places = tf.tensor2d(wanted, [wanted.length, 1], 'int32');
  return tf.scatterND(places, dy, [count, dy.shape[1]]) as Tensor2D;
}

/** The vector-Jacobian product of `layerForward`; dy has the rows of its result. `inputGradient: false` leaves out dx (the first layer needs none). */
export function layerBackward(
  model: BaseModel,
  layer: number,
  dy: Tensor2D,
  saved: SavedLayer,
  pass: Pass,
  inputGradient = true,
): { dx?: Tensor2D; gradients: LayerGradients } {
  const { kernels, config } = model;
  const weights = model.layers[layer] as LayerWeights;
  return tidy(() => {
    const gradients: LayerGradients = {};
    const back = (dys: ProjectionGrads) => projectionGrad(model, layer, dys, pass, saved.lora, gradients);
    const { dg, du } = kernels.swiGluGrad(sum(back({ down_proj: dy })), saved.gate, saved.up);
    const dh2 = back({ gate_proj: dg, up_proj: du });
    const dx2 = kernels.rmsNormGrad(dh2, saved.x2, weights.postNorm, saved.r2, dy);
    const { q, k, v, o, attention } = saved;
    const all = (dy: Tensor2D) => spread(dy, saved.wanted, saved.x.shape[0]);
    const dO = all(sum(back({ o_proj: dx2 })));
    const { dq, dk, dv } = kernels.attentionGrad(dO, q, k, v, o, attention, layoutOf(pass));
    const dQuery = headNormGrad(model, kernels.ropeGrad(dq, pass.rotation, config.heads), saved.qNorm, weights.qNorm);
    const dKey = headNormGrad(model, kernels.ropeGrad(dk, pass.rotation, config.kvHeads), saved.kNorm, weights.kNorm);
    if (!inputGradient) {
      for (const [projection, grad] of [
        ['q_proj', dQuery],
        ['k_proj', dKey],
        ['v_proj', dv],
      ] as const)
        loraGrad(model, layer, projection, grad, pass, saved.lora[projection], gradients);
      return { gradients };
    }
    const dh1 = back({ q_proj: dQuery, k_proj: dKey, v_proj: dv });
    const dx = kernels.rmsNormGrad(dh1, saved.x, weights.inputNorm, saved.r1, all(dx2));
    return { dx, gradients };
  });
}

/** x W^T (+ bias) (+ scale (dropout(x) A^T) B^T) for projections of one input. */
function applyProjections(
  model: BaseModel,
  layer: number,
  projections: readonly Projection[],
  x: Tensor2D,
  pass: Pass,
  saved: SavedLayer['lora'],
  wanted: Int32Array | undefined,
): Tensor2D[] {
  const weights = model.layers[layer] as LayerWeights;
  const products = model.kernels.linear(
    x,
    projections.map((projection) => weights.projections[projection]),
  );
  return projections.map((projection, i) => {
    const bias = weights.biases[projection];
    const y = bias === undefined ? products[i]! : (tf.add(products[i]!, bias) as Tensor2D);
    return addAdapter(model, layer, projection, x, y, pass, saved, wanted);
  });
}

function addAdapter(
  model: BaseModel,
  layer: number,
  projection: Projection,
  x: Tensor2D,
  y: Tensor2D,
  pass: Pass,
  saved: SavedLayer['lora'],
  wanted: Int32Array | undefined,
): Tensor2D {
  const pair = pass.lora?.pairs[layer]?.[projection];
  if (pass.lora === undefined || pair === undefined) return y;
  const dropout = dropoutOf(pass.dropout?.(layer, projection), wanted);
  const { sum, down } = model.kernels.lowRank(y, x, pair, pass.lora.scale, dropout);
  saved[projection] = { input: x, down, ...(dropout && { dropout }) };
  return sum;
}

/** The random numbers of some rows: a row keeps its own, whoever else is there. */
function dropoutOf(rows: DropoutRows | undefined, wanted: Int32Array | undefined): DropoutRows | undefined {
  if (rows === undefined || wanted === undefined) return rows;
  const { keys, tokens, rate } = rows;
  return { keys: wanted.map((row) => keys[row]!), tokens: wanted.map((row) => tokens[row]!), rate };
}

/** What comes back to the projections of one input. */
type ProjectionGrads = Partial<Record<Projection, Tensor2D>>;

/** The terms of dx: through the frozen matrices, and through each adapter that there is. */
function projectionGrad(
  model: BaseModel,
  layer: number,
  grads: ProjectionGrads,
  pass: Pass,
  saved: SavedLayer['lora'],
  gradients: LayerGradients,
): Tensor2D[] {
  const weights = model.layers[layer] as LayerWeights;
  const dys = Object.entries(grads) as [Projection, Tensor2D][];
  const dx = model.kernels.linearGrad(
    dys.map(([, dy]) => dy),
    dys.map(([projection]) => weights.projections[projection]),
  );
  const throughAdapters = dys.flatMap(
    ([projection, dy]) => loraGrad(model, layer, projection, dy, pass, saved[projection], gradients) ?? [],
  );
  return [dx, ...throughAdapters];
}

function sum(terms: Tensor2D[]): Tensor2D {
  return terms.length === 1 ? terms[0]! : (tf.addN(terms) as Tensor2D);
}

/** Takes note of the gradients of A and B; returns the part of dx that goes through the adapter. */
function loraGrad(
  model: BaseModel,
  layer: number,
  projection: Projection,
  dy: Tensor2D,
  pass: Pass,
  saved: SavedLora | undefined,
  gradients: LayerGradients,
): Tensor2D | undefined {
  const pair = pass.lora?.pairs[layer]?.[projection];
  if (pass.lora === undefined || pair === undefined || saved === undefined) return undefined;
  const { input, down, dropout } = saved;
  const { dx, a, b } = model.kernels.lowRankGrad(dy, input, down, pair, pass.lora.scale, dropout);
  gradients[projection] = { a, b };
  return dx;
}

/** RMSNorm of every head on its own (Qwen3); the identity where the model has none. */
function headNorm(model: BaseModel, x: Tensor2D, weight: Tensor1D | undefined): { y: Tensor2D; saved?: SavedHeadNorm } {
  if (weight === undefined) return { y: x };
  const heads = tf.reshape(x, [-1, model.config.headSize]) as Tensor2D; // [t * h, s]
  const { y, r } = model.kernels.rmsNorm(heads, weight, model.config.normEps);
  return { y: tf.reshape(y, x.shape) as Tensor2D, saved: { x: heads, r } };
}

function headNormGrad(
  model: BaseModel,
  dy: Tensor2D,
  saved: SavedHeadNorm | undefined,
  weight: Tensor1D | undefined,
): Tensor2D {
  if (saved === undefined || weight === undefined) return dy;
  const heads = tf.reshape(dy, saved.x.shape) as Tensor2D;
  return tf.reshape(model.kernels.rmsNormGrad([heads], saved.x, weight, saved.r), dy.shape) as Tensor2D;
}

function layoutOf(pass: Pass): AttentionLayout {
  if (pass.layout === undefined)
    throw new RangeError('Expected a pass over a packed batch, got one over a cache, which has no gradient');
  return pass.layout;
}
