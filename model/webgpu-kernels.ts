import type { DropoutRows } from './dropout.ts';
import type { Kernels, Rotation } from './kernels.ts';
import { plainKernels } from './plain-kernels.ts';
import { type Tensor, type Tensor2D, tf, tidy } from './tf.ts';
import { attention, attentionGrad, type PairsLayout, pairsLayout } from './webgpu-attention.ts';
import { WebgpuCache } from './webgpu-cache.ts';
import { GROUP, run } from './webgpu-program.ts';

/**
 * The kernels as few programs on the GPU: handing over a program takes longer than most of them compute. Products with
 * matrices are those of the plain set.
 */
export const webgpuKernels: Kernels = {
  ...plainKernels,
  name: 'webgpu',
  rmsNorm,
  addRmsNorm: (x, delta, weight, eps) =>
    tidy(() => {
      const sum = tf.add(x, delta) as Tensor2D;
      return { sum, ...rmsNorm(sum, weight, eps) };
    }),
  rmsNormGrad,
  lowRank: (y, x, { a, b }, scale, rows) =>
    tidy(() => {
      const down = tf.matMul(rows === undefined ? x : dropout(x, rows), a, false, true) as Tensor2D;
      const sum = run({
        name: 'lowRank',
        inputs: { y, down, b },
        shape: y.shape,
        whole: { out: b.shape[0], rank: b.shape[1] },
        real: { scale },
        code: `
          var sum = 0.0;
          for (var i = 0; i < uniforms.rank; i++) {
            sum += down[index / uniforms.out * uniforms.rank + i] * b[index % uniforms.out * uniforms.rank + i];
          }
          result[index] = y[index] + uniforms.scale * sum;`,
      }) as Tensor2D;
      return { sum, down };
    }),
  dropout,
  rope: (x, rotation, heads) => rotate(x, rotation, heads, 1),
  ropeGrad: (dy, rotation, heads) => rotate(dy, rotation, heads, -1),
  layout: pairsLayout,
  attention: (q, k, v, layout) => attention(q, k, v, layout as PairsLayout),
  attentionGrad: (dO, q, k, v, o, [weights], layout) =>
    attentionGrad(dO, q, k, v, o, weights as Tensor2D, layout as PairsLayout),
  bestTokens,
  cache: (config, batch, beams, maxNewTokens) => new WebgpuCache(config, batch, beams, maxNewTokens),
  swiGlu: (g, u) =>
    run({
      name: 'swiGlu',
      inputs: { g, u },
      shape: g.shape,
      code: `${SILU} result[index] = silu * u[index];`,
    }) as Tensor2D,
  swiGluGrad: (da, g, u) => ({
    dg: run({
      name: 'swiGluGradGate',
      inputs: { da, g, u },
      shape: g.shape,
      code: `${SILU} result[index] = da[index] * u[index] * (sigmoid + silu - silu * sigmoid);`,
    }) as Tensor2D,
    du: run({
      name: 'swiGluGradUp',
      inputs: { da, g },
      shape: g.shape,
      code: `${SILU} result[index] = da[index] * silu;`,
    }) as Tensor2D,
  }),
};

const SILU = `
  let sigmoid = 1.0 / (1.0 + exp(-g[index]));
  let silu = g[index] * sigmoid;`;

function rmsNorm(x: Tensor2D, weight: Tensor, eps: number): { y: Tensor2D; r: Tensor2D } {
  const width = x.shape[1];
  const r = run({
    name: 'normScale',
    inputs: { x },
    shape: [x.shape[0], 1],
    whole: { width },
    real: { eps },
    groups: [x.shape[0], 1],
    code: `
      var part = 0.0;
      for (var i = thread; i < uniforms.width; i += ${GROUP}) {
        let value = x[group.x * uniforms.width + i];
        part += value * value;
      }
      let mean = sumOf(part) / f32(uniforms.width);
      if (thread == 0) { result[group.x] = 1.0 / sqrt(mean + uniforms.eps); }`,
  }) as Tensor2D;
  const y = run({
    name: 'norm',
    inputs: { x, weight, r },
    shape: x.shape,
    whole: { width },
    code: 'result[index] = x[index] * r[index / uniforms.width] * weight[index % uniforms.width];',
  }) as Tensor2D;
  return { y, r };
}

function rmsNormGrad(dys: Tensor2D[], x: Tensor2D, weight: Tensor, r: Tensor2D, residual?: Tensor2D): Tensor2D {
  return tidy(() => {
    const dy = dys.length === 1 ? dys[0]! : tf.addN(dys);
    const width = x.shape[1];
    return run({
      name: residual ? 'normGradResidual' : 'normGrad',
      inputs: { dy, x, weight, r, ...(residual && { residual }) },
      shape: x.shape,
      whole: { width },
      groups: [x.shape[0], 1],
      code: `
        let begin = group.x * uniforms.width;
        var part = 0.0;
        for (var i = thread; i < uniforms.width; i += ${GROUP}) { part += dy[begin + i] * weight[i] * x[begin + i]; }
        let scale = r[group.x];
        let mean = sumOf(part) / f32(uniforms.width) * scale * scale * scale;
        for (var i = thread; i < uniforms.width; i += ${GROUP}) {
          let at = begin + i;
          result[at] = ${residual ? 'residual[at] +' : ''} dy[at] * weight[i] * scale - x[at] * mean;
        }`,
    }) as Tensor2D;
  });
}

/** The hash of `dropoutMask`, bit for bit. */
function dropout(x: Tensor2D, { keys, tokens, rate }: DropoutRows): Tensor2D {
  return tidy(() => {
    const both = new Int32Array(2 * keys.length);
    both.set(keys);
    both.set(tokens, keys.length);
    const rows = tf.tensor1d(both, 'int32');
    return run({
      name: 'dropout',
      inputs: { x, rows },
      shape: x.shape,
      whole: { width: x.shape[1], tokens: keys.length, threshold: Math.floor(rate * 2 ** 32) | 0 },
      real: { kept: 1 / (1 - rate) },
      functions: `
        fn mixed(value : u32) -> u32 {
          var h = value;
          h = (h ^ (h >> 16u)) * 0x85ebca6bu;
          h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
          return h ^ (h >> 16u);
        }`,
      code: `
        let row = index / uniforms.width;
        let place = rows[uniforms.tokens + row] * uniforms.width + index % uniforms.width;
        let hash = mixed(bitcast<u32>(rows[row]) + bitcast<u32>(place) * 0x9e3779b1u);
        result[index] = x[index] * select(0.0, uniforms.kept, hash >= bitcast<u32>(uniforms.threshold));`,
    }) as Tensor2D;
  });
}

function rotate(x: Tensor2D, { cos, sin }: Rotation, heads: number, sign: number): Tensor2D {
  const half = x.shape[1] / heads / 2;
  return run({
    name: 'rotate',
    inputs: { x, cos, sin },
    shape: x.shape,
    whole: { width: x.shape[1], halfSize: half },
    real: { direction: sign },
    code: `
      let size = uniforms.halfSize;
      let angle = index / uniforms.width * size + index % size;
      let isFirst = index % uniforms.width % (2 * size) < size;
      let other = x[select(index - size, index + size, isFirst)];
      let turned = select(other, -other, isFirst) * sin[angle] * uniforms.direction;
      result[index] = x[index] * cos[angle] + turned;`,
  }) as Tensor2D;
}

/** Takes the greatest `count` times, each time what comes after the one before: smaller, or equal with a greater id. */
function bestTokens(logits: Tensor2D, count: number): { logProbs: Tensor2D; ids: Tensor2D } {
  const [rows, vocabulary] = logits.shape;
  return tidy(() => {
    const best = run({
      name: 'bestTokens',
      inputs: { logits },
      shape: [rows, 2 * count],
      whole: { vocabulary, count },
      groups: [rows, 1],
      code: `
        let begin = group.x * uniforms.vocabulary;
        var part = -3.4e38;
        for (var i = thread; i < uniforms.vocabulary; i += ${GROUP}) { part = max(part, logits[begin + i]); }
        let top = greatestOf(part);
        part = 0.0;
        for (var i = thread; i < uniforms.vocabulary; i += ${GROUP}) { part += exp(logits[begin + i] - top); }
        let normaliser = top + log(sumOf(part));
        var before = top;
        var beforeId = -1;
        for (var taken = 0; taken < uniforms.count; taken++) {
          var mine = -3.4e38;
          var mineId = uniforms.vocabulary;
          for (var i = thread; i < uniforms.vocabulary; i += ${GROUP}) {
            let value = logits[begin + i];
            let comesAfter = value < before || (value == before && i > beforeId);
            if (comesAfter && value > mine) { mine = value; mineId = i; }
          }
          before = greatestOf(mine);
          let id = -greatestOf(select(-f32(uniforms.vocabulary), -f32(mineId), mine == before));
          beforeId = i32(id);
          if (thread == 0) {
            result[group.x * 2 * uniforms.count + taken] = before - normaliser;
            result[(group.x * 2 + 1) * uniforms.count + taken] = id;
          }
        }`,
    }) as Tensor2D;
    const [logProbs, ids] = tf.split(best, 2, 1) as [Tensor2D, Tensor2D];
    return { logProbs, ids: tf.cast(ids, 'int32') };
  });
}
