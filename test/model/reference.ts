import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Backend, openBackend } from '../../model/backend.ts';
import { type BaseModel, loadBaseModel } from '../../model/base-model.ts';
import type { Kernels } from '../../model/kernels.ts';
import { type AdapterParameters, adapterName, type LoraConfig } from '../../model/lora.ts';
import { parseModelConfig } from '../../model/model-config.ts';
import { openWeights } from '../../model/weights.ts';
import { cacheRoot } from '../../setup/cache.ts';
import { ensureTensorflow } from '../../setup/tensorflow.ts';

/** Reading the golden values of test/reference (made by transformers, PEFT and PyTorch) and building the same models. */
const folder = fileURLToPath(new URL('../reference/', import.meta.url));

export interface Described {
  shape: number[];
  norm: number;
  values?: number[];
  slice?: number[];
  projections?: number[];
}

export function golden<T>(name: string): T {
  return JSON.parse(readFileSync(join(folder, 'golden', `${name}.json`), 'utf8')) as T;
}

export function hasGolden(name: string): boolean {
  return existsSync(join(folder, 'golden', `${name}.json`));
}

/** The GGUF of SmolLM2-135M, where set-up has put it. */
export function smollm2Path(): string | undefined {
  const named = process.env['SOFTFLOW_TEST_GGUF'];
  if (named) return named;
  const root = cacheRoot();
  if (!existsSync(root)) return undefined;
  const found = (readdirSync(root, { recursive: true }) as string[]).find((path) =>
    path.endsWith('SmolLM2-135M-Instruct.Q4_1.gguf'),
  );
  return found && join(root, found);
}

export async function openTensorflow(): Promise<Backend> {
  const { addonPath } = await ensureTensorflow();
  return openBackend({ name: 'tensorflow', addonPath });
}

export async function referenceModel(name: string, kernels: Kernels): Promise<BaseModel> {
  if (name === 'smollm2') return loadBaseModel(await openWeights({ gguf: smollm2Path() as string }), kernels);
  const files = await openWeights({
    folder: join(folder, name === 'tiny-untied' ? 'tiny-llama-untied' : 'tiny-llama'),
  });
  if (name !== 'tiny-llama3') return loadBaseModel(files, kernels);
  const config = parseModelConfig(JSON.parse(readFileSync(join(folder, 'tiny-llama/config.llama3.json'), 'utf8')));
  return loadBaseModel({ config, tensor: (tensor) => files.tensor(tensor) }, kernels);
}

/** `uniform` of test/reference/common.py. */
export function uniform(count: number, stream: number): Float64Array {
  const shift = Math.imul(stream + 1, 0x85ebca6b);
  return Float64Array.from({ length: count }, (_, i) => {
    let h = (Math.imul(i, 0x9e3779b1) + shift) | 0;
    h ^= h >>> 16;
    h = Math.imul(h, 0x7feb352d);
    h ^= h >>> 15;
    h = Math.imul(h, 0x846ca68b);
    h ^= h >>> 16;
    return (h >>> 0) / 2 ** 31 - 1;
  });
}

export const REFERENCE_LORA: LoraConfig = { rank: 8, loraAlpha: 16, dropout: 0, targets: ['q_proj', 'v_proj'] };

/** `add_lora` of test/reference/common.py. */
export function referenceAdapter(model: BaseModel, bScale: number): AdapterParameters {
  const parameters: AdapterParameters = new Map();
  const { hiddenSize, heads, kvHeads, headSize, layers } = model.config;
  for (let layer = 0; layer < layers; layer++)
    (['q_proj', 'v_proj'] as const).forEach((projection, p) => {
      const out = (projection === 'q_proj' ? heads : kvHeads) * headSize;
      const make = (part: 'A' | 'B', shape: [number, number], scale: number) => {
        const stream = 1000 + layer * 4 + p * 2 + (part === 'B' ? 1 : 0);
        const data = Float32Array.from(uniform(shape[0] * shape[1], stream), (x) => x * scale);
        parameters.set(adapterName(layer, projection, part), { shape, data });
      };
      make('A', [8, hiddenSize], 1 / Math.sqrt(hiddenSize));
      make('B', [out, 8], bScale);
    });
  return new Map([...parameters].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Relative error of a tensor against what the golden file says of it: the worst of values or slice, norm and projections. */
export function relativeError(actual: ArrayLike<number>, expected: Described): number {
  const values = Array.from(actual);
  const scale = expected.norm / Math.sqrt(values.length);
  const errors = (expected.values ?? expected.slice ?? []).map(
    (value, i) => Math.abs(value - (values[i] as number)) / expected.norm,
  );
  errors.push(Math.abs(Math.hypot(...values.map(Number)) - expected.norm) / expected.norm);
  for (const [stream, projection] of (expected.projections ?? []).entries()) {
    const direction = uniform(values.length, stream);
    const dot = values.reduce((sum, value, i) => sum + value * (direction[i] as number), 0);
    errors.push(Math.abs(dot - projection) / (scale * Math.sqrt(values.length)));
  }
  return Math.max(...errors);
}
