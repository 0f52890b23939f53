import { createHash } from 'node:crypto';
import { BACKEND_NAMES, type BackendName, type BackendOptions, nativeOps, openBackend } from './backend.ts';
import { type BaseModel, loadBaseModel, type WeightSource } from './base-model.ts';
import { kernelsFor } from './kernel-sets.ts';
import { initialAdapter, type LoraConfig, uploadAdapter } from './lora.ts';
import { packBatch } from './packing.ts';
import { softLoss } from './soft-loss.ts';
import { tf } from './tf.ts';
import { tinyModel } from './tiny-model.ts';

export interface BackendProbe {
  ok: boolean;
  detail: string;
  /** Where TensorFlow computes: cpu or gpu. */
  device?: string;
  gflops?: number;
  deterministic?: boolean;
  /** Of the gradient, for comparison with another process. */
  digest?: string;
}

const LORA: LoraConfig = { rank: 4, loraAlpha: 8, dropout: 0, targets: ['q_proj', 'v_proj'] };

/** Tries a backend with a matrix product, the gradient of a tiny decoder, and the same gradient again for equal bytes. */
export async function probeBackend(name: string, options: Omit<BackendOptions, 'name'>): Promise<BackendProbe> {
  if (!(BACKEND_NAMES as readonly string[]).includes(name))
    return { ok: false, detail: `no backend is called ${name}` };
  const backend = await openBackend({ name: name as BackendName, ...options });
  const gflops = matmulRate();
  const kernels = kernelsFor('f32');
  const model = await loadBaseModel(tinySource(), kernels);
  const [first, second] = [gradient(model), gradient(model)];
  model.dispose();
  const moved = [...first.values()].some((values) => values.some((value) => value !== 0));
  if (!moved || [...first.values()].some((values) => !values.every(Number.isFinite)))
    return { ok: false, detail: 'the gradient of a tiny decoder is zero or not finite' };
  const equal = [...first].every(([tensor, values]) => Buffer.compare(bytes(values), bytes(second.get(tensor)!)) === 0);
  const { device } = backend.fingerprint;
  const where = device === undefined ? '' : ` on ${device}`;
  const bf16 = nativeOps() ? ', bf16 available' : '';
  const detail = `${backend.fingerprint['backendVersion']}${where}, ${kernels.name} kernels${bf16}, real op and gradient`;
  const hash = createHash('sha256');
  for (const [tensor, values] of first) hash.update(tensor).update(bytes(values));
  const digest = hash.digest('hex');
  return { ok: true, detail, gflops, deterministic: equal, digest, ...(device === undefined ? {} : { device }) };
}

function tinySource(): WeightSource {
  const { config, weights } = tinyModel({ seed: 1 });
  return { config, tensor: async (name) => weights.get(name)! };
}

function gradient(model: BaseModel): Map<string, Float32Array> {
  const adapter = uploadAdapter(model.config, LORA, withSomeB(model));
  const samples = [3, 5].map((length, s) => ({
    windowId: String(s),
    prompt: Array.from({ length: 8 + length }, (_, i) => (i < 6 ? i : i * 7 + s) % 50),
    target: [9, 8, 7],
    distilled: [6, 5],
  }));
  const { gradients } = softLoss(model, adapter, packBatch(samples, 6), { target: 0.1, distilled: 0.1 });
  adapter.dispose();
  return gradients;
}

/** B starts at zero, where A has no gradient to show. */
function withSomeB(model: BaseModel) {
  const parameters = initialAdapter(model.config, LORA, 1);
  for (const [name, { data }] of parameters) if (name.includes('lora_B')) data.fill(0.01);
  return parameters;
}

function bytes(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

/** GFLOP/s of a 512 x 512 x 512 product, the best of a few. */
function matmulRate(): number {
  const a = tf.ones([512, 512]);
  let best = 0;
  for (let i = 0; i < 4; i++) {
    const started = performance.now();
    const product = tf.matMul(a, a);
    product.dataSync();
    product.dispose();
    best = Math.max(best, (2 * 512 ** 3) / (performance.now() - started) / 1e6);
  }
  a.dispose();
  return best;
}
