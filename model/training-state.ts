import type { AdapterParameters } from './lora.ts';
import { initialOptimizerState, type OptimizerState } from './optimizer.ts';
import { decodeSafetensors, encodeSafetensors, type SafetensorsValue } from './safetensors.ts';

/** Everything that training goes on from: adapter, moments, and in the middle of an optimiser step its gradient sum. */
export interface TrainingState {
  parameters: AdapterParameters;
  optimizer: OptimizerState;
  /** Gradient of the optimiser step so far; absent at a step's border. */
  accumulated?: Map<string, Float32Array>;
  /** Small exact figures, kept as JSON: positions and loss sums. */
  figures: unknown;
}

export function freshTrainingState(parameters: AdapterParameters): TrainingState {
  return { parameters, optimizer: initialOptimizerState(parameters), figures: null };
}

/** Tensor names are PEFT's, behind `adapter.`, `m.`, `v.` and `gradient.`. The same state gives the same bytes. */
export function encodeTrainingState({ parameters, optimizer, accumulated, figures }: TrainingState): Uint8Array {
  const tensors: Record<string, SafetensorsValue> = {};
  for (const [name, { shape, data }] of parameters) {
    const put = (kind: string, values: Float32Array | undefined) => {
      if (values !== undefined) tensors[`${kind}.${name}`] = { dtype: 'F32', shape, data: values };
    };
    put('adapter', data);
    put('m', optimizer.m.get(name));
    put('v', optimizer.v.get(name));
    put('gradient', accumulated?.get(name));
  }
  return encodeSafetensors(tensors, { step: String(optimizer.step), figures: JSON.stringify(figures) });
}

export async function decodeTrainingState(bytes: Uint8Array): Promise<TrainingState> {
  const { tensors, metadata } = await decodeSafetensors(bytes, 'training state');
  const parameters: AdapterParameters = new Map();
  const kinds = {
    m: new Map<string, Float32Array>(),
    v: new Map<string, Float32Array>(),
    gradient: new Map<string, Float32Array>(),
  };
  for (const [fullName, { shape, data }] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const dot = fullName.indexOf('.');
    const [kind, name] = [fullName.slice(0, dot), fullName.slice(dot + 1)];
    if (kind === 'adapter')
      parameters.set(name, { shape: [shape[0] as number, shape[1] as number], data: data as Float32Array });
    else kinds[kind as keyof typeof kinds]?.set(name, data as Float32Array);
  }
  return {
    parameters,
    optimizer: { step: Number(metadata.get('step')), m: kinds.m, v: kinds.v },
    ...(kinds.gradient.size > 0 && { accumulated: kinds.gradient }),
    figures: JSON.parse(metadata.get('figures') ?? 'null'),
  };
}
