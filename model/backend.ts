import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { basename, dirname } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { isLibraryVariable } from './library-variables.ts';
import { type Tensor, tf } from './tf.ts';
import { loadTfjsNode } from './tfjs-node.ts';
import { useWebgpu } from './webgpu-backend.ts';

/** `wasm` and `cpu` need nothing but this package; they compute the plain kernels, many times slower than the others. */
export const BACKEND_NAMES = ['tensorflow', 'webgpu', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKEND_NAMES)[number];

/** An attribute of a TensorFlow op, as the addon takes it. */
export interface OpAttribute {
  name: string;
  type: number;
  value: unknown;
}

/** The part of tfjs-node's backend that runs any TensorFlow op; its TypeScript declarations keep it private. */
interface NativeBackend {
  binding: Record<string, unknown> & {
    executeOp(
      name: string,
      attributes: OpAttribute[],
      inputs: number[],
      outputs: number,
    ): { id: number; shape: number[]; dtype: number }[];
    deleteTensor(id: number): void;
  };
  getInputTensorIds(tensors: Tensor[]): number[];
  createOutputTensor(metadata: { id: number; shape: number[]; dtype: number }): Tensor;
  isUsingGpuDevice: boolean;
}

const require = createRequire(import.meta.url);

export interface Backend {
  name: BackendName;
  /** Library, versions, instruction set and threads: equal fingerprints promise equal bytes. */
  fingerprint: Record<string, string>;
}

/** Any TensorFlow op, on tensors or on raw tensor ids (for types that tfjs does not know, such as bfloat16). */
export interface NativeOps {
  type: { float: number; bfloat16: number; int32: number };
  attribute: { type: number; bool: number; int: number; float: number; string: number };
  /** Whether TensorFlow computes on a GPU. */
  gpu: boolean;
  /** Whether the addon knows an op (softflow's own are compiled in where they can be). */
  has(name: string): boolean;
  idOf(tensor: Tensor): number;
  run(name: string, attributes: OpAttribute[], inputs: number[], outputs: number): number[];
  /** Takes ownership of the id: the tensor's disposal frees it. */
  tensor(id: number): Tensor;
  free(id: number): void;
}

export interface BackendOptions {
  name: BackendName;
  /** The addon of `tensorflow`. */
  addonPath?: string;
  /** The addon of `webgpu`. */
  dawn?: { path: string; version: string };
  /** What may be used of a GPU's memory; TensorFlow reads that from its environment. */
  maxVramBytes?: number;
}

/**
 * Makes `name` the backend of TensorFlow.js in this process.
 * @throws SoftflowError `TENSORFLOW_NOT_LOADED` when the library cannot be loaded, `WEBGPU_NO_DEVICE` when WebGPU has no GPU
 */
export async function openBackend(options: BackendOptions): Promise<Backend> {
  // Without it tfjs greets on the console.
  if (options.name !== 'tensorflow') tf.enableProdMode();
  if (options.name === 'tensorflow') return openTensorflow(options);
  if (options.name === 'webgpu') return openWebgpu(options);
  if (options.name === 'wasm') require('@tensorflow/tfjs-backend-wasm');
  await tf.setBackend(options.name);
  await tf.ready();
  return { name: options.name, fingerprint: fingerprintOf(options.name, tf.version.tfjs) };
}

async function openWebgpu({ dawn, maxVramBytes }: BackendOptions): Promise<Backend> {
  if (dawn === undefined) throw new SoftflowError('WEBGPU_NO_DEVICE', 'Expected the path of Dawn, got none.');
  const software = process.env['SOFTFLOW_WEBGPU_SOFTWARE'] === '1';
  const bound = maxVramBytes === undefined ? {} : { maxBytes: maxVramBytes };
  const where = await useWebgpu({ dawnPath: dawn.path, software, ...bound });
  return { name: 'webgpu', fingerprint: { ...fingerprintOf('webgpu', `Dawn ${dawn.version}`), ...where } };
}

async function openTensorflow(options: BackendOptions): Promise<Backend> {
  if (options.addonPath === undefined)
    throw new SoftflowError(
      'TENSORFLOW_NOT_LOADED',
      'Expected the path of the TensorFlow addon, got none; run `softflow doctor`.',
    );
  checkInstructions();
  loadTfjsNode(options.addonPath);
  await tf.setBackend('tensorflow');
  const native = tf.backend() as unknown as NativeBackend;
  const version = String(native.binding['TF_Version'] ?? 'unknown');
  return {
    name: 'tensorflow',
    fingerprint: {
      ...fingerprintOf('tensorflow', version),
      // The set-up names the addon's folder by what it was compiled from: other kernels may give other bits.
      kernels: basename(dirname(options.addonPath)),
      device: native.isUsingGpuDevice ? 'gpu' : 'cpu',
    },
  };
}

/** What `SOFTFLOW_INSTRUCTIONS` may allow our own ops at most, worst first; see setup/native/softflow_cpu.h. */
export const INSTRUCTION_SETS = ['portable', 'avx2', 'avx512', 'avx512_bf16', 'amx'] as const;

function checkInstructions(): void {
  const limit = process.env['SOFTFLOW_INSTRUCTIONS'];
  if (!limit || (INSTRUCTION_SETS as readonly string[]).includes(limit)) return;
  const sets = INSTRUCTION_SETS.join(', ');
  throw new SoftflowError('TENSORFLOW_NOT_LOADED', `SOFTFLOW_INSTRUCTIONS: expected one of ${sets}, got "${limit}".`);
}

/** TensorFlow's ops in this process; undefined where the backend is not TensorFlow. */
export function nativeOps(): NativeOps | undefined {
  if (tf.getBackend() !== 'tensorflow') return undefined;
  const backend = tf.backend() as unknown as NativeBackend;
  const { binding } = backend;
  const metadata = new Map<number, { id: number; shape: number[]; dtype: number }>();
  return {
    type: { float: binding['TF_FLOAT'] as number, bfloat16: 14, int32: binding['TF_INT32'] as number },
    attribute: {
      type: binding['TF_ATTR_TYPE'] as number,
      bool: binding['TF_ATTR_BOOL'] as number,
      int: binding['TF_ATTR_INT'] as number,
      float: binding['TF_ATTR_FLOAT'] as number,
      string: binding['TF_ATTR_STRING'] as number,
    },
    gpu: backend.isUsingGpuDevice,
    has: (name) => knowsOp(binding, name),
    idOf: (tensor) => backend.getInputTensorIds([tensor])[0] as number,
    run: (name, attributes, inputs, outputs) =>
      binding.executeOp(name, attributes, inputs, outputs).map((output) => {
        metadata.set(output.id, output);
        return output.id;
      }),
    tensor: (id) => {
      const output = metadata.get(id);
      if (output === undefined) throw new SoftflowError('INTERNAL', `Unknown tensor id ${id}`);
      metadata.delete(id);
      return backend.createOutputTensor(output);
    },
    free: (id) => {
      metadata.delete(id);
      binding.deleteTensor(id);
    },
  };
}

/** An op that exists complains about its missing inputs, one that does not about its name. */
function knowsOp(binding: NativeBackend['binding'], name: string): boolean {
  try {
    binding.executeOp(name, [], [], 1);
    return true;
  } catch (error) {
    return !/not registered|not found|unknown op|Op type/i.test(String(error));
  }
}

const COMPUTES = /^(TF|ONEDNN|DNNL|OMP|MKL)_/;
const CHANGES_NO_BIT = new Set(['TF_CPP_MIN_LOG_LEVEL', 'TF_CPP_MAX_VLOG_LEVEL', 'TF_PER_DEVICE_MEMORY_LIMIT_MB']);

/** Everything outside the data that may change a bit of a result. */
function fingerprintOf(backend: string, version: string): Record<string, string> {
  const variables = Object.keys(process.env)
    .filter((name) => name === 'SOFTFLOW_INSTRUCTIONS' || (COMPUTES.test(name) && isLibraryVariable(name)))
    .filter((name) => !CHANGES_NO_BIT.has(name))
    .sort()
    .map((name) => `${name}=${process.env[name]}`);
  return {
    backend,
    backendVersion: version,
    tfjs: tf.version.tfjs,
    platform: `${platform()}-${arch()}`,
    instructionSet: instructionSet(),
    environment: variables.join(' '),
  };
}

/** The vector instructions that numeric libraries choose their kernels by. */
export function instructionSet(): string {
  if (platform() !== 'linux') return arch();
  try {
    const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    return flags
      .split(' ')
      .filter((flag) => /^(avx|amx|fma|sse4|asimd|sve|bf16)/.test(flag))
      .sort()
      .join(' ');
  } catch {
    return arch();
  }
}
