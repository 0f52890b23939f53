import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { SoftflowError } from '../errors.ts';
import { refuseCodeFolder } from './code-formats.ts';
import { readJsonFile } from './json-file.ts';
import type { AdapterParameters, LoraConfig } from './lora.ts';
import { encodeSafetensors, openSafetensors } from './safetensors.ts';

/** A LoRA adapter as PEFT keeps it. */
export interface PeftAdapter {
  /** By PEFT's names, `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`; A is [r, in], B is [out, r]. */
  parameters: AdapterParameters;
  lora: LoraConfig;
  /** Name or digest of the model that the adapter belongs to. */
  baseModel: string;
}

export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
export const ADAPTER_CONFIG = 'adapter_config.json';

/** What PEFT's `LoraConfig` holds, as far as the decoder here can follow it; other values are refused by name. */
const adapterConfig = z.looseObject({
  peft_type: z.literal('LORA'),
  base_model_name_or_path: z.string().nullish(),
  r: z.number().int().positive(),
  lora_alpha: z.number().positive(),
  lora_dropout: z.number().min(0).max(1).default(0),
  target_modules: z.array(z.string()).min(1),
  bias: z.literal('none').default('none'),
  use_dora: z.literal(false).default(false),
  use_rslora: z.literal(false).default(false),
  fan_in_fan_out: z.literal(false).default(false),
  lora_bias: z.literal(false).default(false),
  rank_pattern: z.strictObject({}).nullish(),
  alpha_pattern: z.strictObject({}).nullish(),
  modules_to_save: z.array(z.string()).max(0).nullish(),
  layers_to_transform: z.null().optional(),
  layer_replication: z.null().optional(),
  target_parameters: z.null().optional(),
});

/**
 * The two files of a PEFT adapter folder. The same adapter gives the same bytes.
 * Throws `ADAPTER_INVALID` when the tensors are not those of the config.
 */
export function encodePeftAdapter({ parameters, lora, baseModel }: PeftAdapter): Map<string, Uint8Array> {
  checkParameters(parameters, lora, 'the adapter to write');
  const tensors = new Map([...parameters].map(([name, value]) => [name, { dtype: 'F32' as const, ...value }]));
  return new Map([
    [ADAPTER_CONFIG, encodePeftConfig(lora, baseModel)],
    [ADAPTER_WEIGHTS, encodeSafetensors(tensors, { format: 'pt' })],
  ]);
}

/** `adapter_config.json` of a LoRA adapter, as PEFT reads it. */
export function encodePeftConfig(lora: LoraConfig, baseModel: string): Uint8Array {
  const config = {
    alpha_pattern: {},
    base_model_name_or_path: baseModel,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: lora.loraAlpha,
    lora_dropout: lora.dropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: lora.rank,
    rank_pattern: {},
    revision: null,
    target_modules: [...lora.targets].sort(),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
  return new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`);
}

/**
 * Reads a PEFT adapter folder. Throws `ADAPTER_INVALID` for what is not a plain LoRA adapter on linear projections,
 * `MODEL_FILE_MISSING`, `MODEL_FILE_DAMAGED`, `MODEL_UNSUPPORTED` for weights that are pickled.
 */
export async function decodePeftAdapter(folder: string): Promise<PeftAdapter> {
  const configPath = join(folder, ADAPTER_CONFIG);
  const parsed = adapterConfig.safeParse(await readJsonFile(configPath));
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw invalid(configPath, 'the config', 'a plain LoRA config of PEFT', faults.join('; '));
  }
  const { r, lora_alpha, lora_dropout, target_modules, base_model_name_or_path } = parsed.data;
  const lora: LoraConfig = {
    rank: r,
    loraAlpha: lora_alpha,
    dropout: lora_dropout,
    targets: [...target_modules].sort(),
  };
  const path = join(folder, ADAPTER_WEIGHTS);
  if (!existsSync(path)) await refuseCodeFolder(folder);
  const { tensors } = await openSafetensors(path);
  const parameters: AdapterParameters = new Map();
  for (const name of [...tensors.keys()].sort()) {
    const tensor = tensors.get(name);
    if (tensor?.shape.length !== 2) throw invalid(path, name, 'two dimensions', `[${tensor?.shape}]`);
    parameters.set(name, { shape: tensor.shape as [number, number], data: await tensor.read() });
  }
  checkParameters(parameters, lora, path);
  return { parameters, lora, baseModel: base_model_name_or_path ?? '' };
}

const PARAMETER_NAME = /^base_model\.model\.model\.layers\.\d+\.(?:self_attn|mlp)\.(\w+_proj)\.lora_([AB])\.weight$/;

/** Every tensor belongs to a target, A and B come in pairs of the config's rank, and all numbers are finite. */
function checkParameters(parameters: AdapterParameters, { rank, targets }: LoraConfig, place: string): void {
  const seen = new Set<string>();
  for (const [name, { shape, data }] of parameters) {
    const [, target, part] = PARAMETER_NAME.exec(name) ?? [];
    if (target === undefined || !targets.includes(target)) {
      throw invalid(place, 'tensor name', `lora_A or lora_B of ${targets.join(', ')}`, name);
    }
    seen.add(target);
    const received = part === 'A' ? shape[0] : shape[1];
    if (received !== rank) throw invalid(place, name, `rank ${rank}`, `shape [${shape}]`);
    if (data.length !== shape[0] * shape[1]) throw invalid(place, name, `[${shape}]`, `${data.length} values`);
    const other = name.replace(/lora_[AB]/, part === 'A' ? 'lora_B' : 'lora_A');
    if (!parameters.has(other)) throw invalid(place, name, `its other half ${other}`, 'none');
    const at = data.findIndex((value) => !Number.isFinite(value));
    if (at !== -1) throw invalid(place, name, 'finite numbers', `${data[at]} at element ${at}`);
  }
  const absent = targets.find((target) => !seen.has(target));
  if (absent !== undefined) throw invalid(place, 'the tensors', `some of ${absent}`, 'none');
}

function invalid(place: string, what: string, expected: string, received: string): SoftflowError {
  return new SoftflowError(
    'ADAPTER_INVALID',
    `${place}: ${what} does not fit. Expected: ${expected}. Received: ${received}. Use an adapter that softflow or PEFT wrote for these projections.`,
    { details: { place, expected, received } },
  );
}
