import { type BaseModel, loadBaseModel } from '../../model/base-model.ts';
import type { Kernels } from '../../model/kernels.ts';
import type { AdapterParameters, LoraConfig } from '../../model/lora.ts';
import { adapterNames, initialAdapter } from '../../model/lora.ts';
import type { Sample } from '../../model/packing.ts';
import { type TinyModelOptions, tinyModel } from '../../model/tiny-model.ts';
import { uniform } from './reference.ts';

/** One layer, two query heads on one key-value head: small enough for finite differences and for slow backends. */
export const TINIEST: TinyModelOptions = {
  hiddenSize: 32,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  ffnSize: 48,
  vocabSize: 257,
};

export const LORA: LoraConfig = { rank: 4, loraAlpha: 8, dropout: 0, targets: ['q_proj', 'v_proj'] };

/** A tiny random model in memory; the caller disposes. */
export function loadTiny(kernels: Kernels, options: TinyModelOptions = {}): Promise<BaseModel> {
  const { config, weights } = tinyModel(options);
  return loadBaseModel({ config, tensor: async (name) => weights.get(name)! }, kernels);
}

/** An adapter whose B is not zero, so that A has a gradient. */
export function someAdapter(model: BaseModel, lora: LoraConfig = LORA): AdapterParameters {
  const parameters = initialAdapter(model.config, lora, 1);
  adapterNames(model.config, lora).forEach((name, i) => {
    if (name.includes('lora_B'))
      parameters.get(name)!.data.set(uniform(parameters.get(name)!.data.length, i).map((x) => x / 10));
  });
  return parameters;
}

/** Prompts that share their first `prefix` tokens, each with y and y-hat that end in the end token 0. */
export function someSamples(count: number, prefix = 3): Sample[] {
  return Array.from({ length: count }, (_, s) => ({
    windowId: `w${s}`,
    prompt: Array.from({ length: prefix + 2 + (s % 3) }, (_, i) =>
      i < prefix ? 10 + i : 1 + ((i * 37 + s * 11) % 250),
    ),
    target: [20 + s, 30, 40 + s, 0],
    distilled: [50 + s, 60, 0],
  }));
}
