import { SoftflowError } from '../errors.ts';
import { type Backend, type BackendOptions, openBackend } from '../model/backend.ts';
import { ensureDawn, mayHaveGpu } from '../setup/dawn.ts';
import { ensureTensorflow } from '../setup/tensorflow.ts';
import type { BackendChoice } from './backend-choices.ts';

type Say = (message: string) => void;
type Bound = Pick<BackendOptions, 'maxVramBytes'>;

/** The backend asked for, or with `auto` the fastest that this machine has, saying which and why when it is not the usual one. */
export async function openChosenBackend(choice: BackendChoice, say: Say, bound: Bound = {}): Promise<Backend> {
  switch (choice) {
    case 'auto':
      return openFastest(say, bound);
    case 'tensorflow':
      return openTensorflow();
    case 'webgpu':
      return openWebgpu(bound);
    default:
      return openBackend({ name: choice });
  }
}

/** TensorFlow on a GPU, else WebGPU on one, else TensorFlow on the processor, else wasm. */
async function openFastest(say: Say, bound: Bound): Promise<Backend> {
  const tensorflow = await openTensorflow().catch((error: unknown) => replaceable(error));
  const onGpu = !(tensorflow instanceof SoftflowError) && tensorflow.fingerprint['device'] === 'gpu';
  if (mayHaveGpu() && !onGpu) {
    const webgpu = await openWebgpu(bound).catch((error: unknown) => replaceable(error));
    if (!(webgpu instanceof SoftflowError)) {
      say(`WebGPU computes on ${webgpu.fingerprint['device']}, because TensorFlow cannot use that GPU here.`);
      return webgpu;
    }
    say(`The processor computes: ${webgpu.message}`);
  }
  if (!(tensorflow instanceof SoftflowError)) return mayHaveGpu() ? openTensorflow() : tensorflow;
  say(`The TensorFlow library cannot be had here, so the far slower wasm backend computes. ${tensorflow.message}`);
  return openBackend({ name: 'wasm' });
}

async function openTensorflow(): Promise<Backend> {
  const { addonPath } = await ensureTensorflow();
  return openBackend({ name: 'tensorflow', addonPath });
}

async function openWebgpu(bound: Bound): Promise<Backend> {
  return openBackend({ name: 'webgpu', dawn: await ensureDawn(), ...bound });
}

/** What another backend can make up for; the rest is thrown on. */
function replaceable(error: unknown): SoftflowError {
  if (error instanceof SoftflowError) return error;
  throw error;
}
