import { createHash } from 'node:crypto';
import { moduleName, type Projection, projectionShape } from './base-model.ts';
import type { ModelConfig } from './model-config.ts';
import { type Tensor2D, tf } from './tf.ts';

export interface LoraConfig {
  rank: number;
  loraAlpha: number;
  dropout: number;
  targets: readonly string[];
}

/** Parameters of an adapter on the host, by PEFT's tensor names; A is [rank, in], B is [out, rank]. */
export type AdapterParameters = Map<string, { shape: [number, number]; data: Float32Array }>;

/** One projection's adapter on the device. */
export interface LoraPair {
  a: Tensor2D;
  b: Tensor2D;
}

/** An adapter on the device: `pairs[layer][projection]`. */
export interface Lora {
  pairs: Partial<Record<Projection, LoraPair>>[];
  /** loraAlpha / rank. */
  scale: number;
  dispose(): void;
}

/** PEFT's name of an adapter tensor. */
export function adapterName(layer: number, projection: Projection, part: 'A' | 'B'): string {
  return `base_model.model.${moduleName(layer, projection)}.lora_${part}.weight`;
}

/** Names of all adapter tensors in sorted order: the order of every sum over parameters. */
export function adapterNames(config: ModelConfig, lora: LoraConfig): string[] {
  const names: string[] = [];
  for (let layer = 0; layer < config.layers; layer++)
    for (const target of lora.targets)
      names.push(adapterName(layer, target as Projection, 'A'), adapterName(layer, target as Projection, 'B'));
  return names.sort();
}

/**
 * A fresh adapter: A uniform in +-1/sqrt(in) from the seed and its own name alone, B zero,
 * so that SFT and SOFT start from the same one. Source: Hu et al. 2021; PEFT's Kaiming-uniform start.
 */
export function initialAdapter(config: ModelConfig, lora: LoraConfig, seed: number): AdapterParameters {
  const parameters: AdapterParameters = new Map();
  for (let layer = 0; layer < config.layers; layer++)
    for (const target of lora.targets as Projection[]) {
      const { out, in: width } = projectionShape(config, target);
      const name = adapterName(layer, target, 'A');
      parameters.set(name, {
        shape: [lora.rank, width],
        data: uniform(`${seed}:${name}`, lora.rank * width, 1 / Math.sqrt(width)),
      });
      parameters.set(adapterName(layer, target, 'B'), {
        shape: [out, lora.rank],
        data: new Float32Array(out * lora.rank),
      });
    }
  return new Map([...parameters].sort(([x], [y]) => (x < y ? -1 : 1)));
}

/** `count` numbers in +-bound: SHA-256 in counter mode, 32 bits a number. */
function uniform(place: string, count: number, bound: number): Float32Array {
  const values = new Float32Array(count);
  for (let block = 0; block * 8 < count; block++) {
    const digest = createHash('sha256').update(`${place}:${block}`).digest();
    for (let i = 0; i < 8 && block * 8 + i < count; i++)
      values[block * 8 + i] = (digest.readUInt32LE(i * 4) / 2 ** 31 - 1) * bound;
  }
  return values;
}

/** Uploads an adapter; the caller disposes. */
export function uploadAdapter(config: ModelConfig, lora: LoraConfig, parameters: AdapterParameters): Lora {
  const pairs: Partial<Record<Projection, LoraPair>>[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const pair: Partial<Record<Projection, LoraPair>> = {};
    for (const target of lora.targets as Projection[])
      pair[target] = {
        a: upload(parameters, adapterName(layer, target, 'A')),
        b: upload(parameters, adapterName(layer, target, 'B')),
      };
    pairs.push(pair);
  }
  return {
    pairs,
    scale: lora.loraAlpha / lora.rank,
    dispose: () => {
      for (const pair of pairs) for (const { a, b } of Object.values(pair)) tf.dispose([a, b]);
    },
  };
}

function upload(parameters: AdapterParameters, name: string): Tensor2D {
  const parameter = parameters.get(name);
  if (parameter === undefined) throw new RangeError(`Expected adapter tensor ${name}, got none`);
  // The library shares memory with the array it is given, and the optimiser writes into ours.
  return tf.tensor2d(parameter.data.slice(), parameter.shape);
}
