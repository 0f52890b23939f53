import { SoftflowError } from '../errors.ts';
import { type Backend, openBackend } from '../model/backend.ts';
import { ensureTensorflow } from '../setup/tensorflow.ts';
import type { BackendChoice } from './backend-choices.ts';

/** The backend asked for, or with `auto` the fastest that this machine has, saying so when it is not the first choice. */
export async function openChosenBackend(choice: BackendChoice, warn: (message: string) => void): Promise<Backend> {
  if (choice === 'cpu' || choice === 'wasm') return openBackend({ name: choice });
  try {
    const { addonPath } = await ensureTensorflow();
    return await openBackend({ name: 'tensorflow', addonPath });
  } catch (error) {
    if (choice === 'tensorflow' || !(error instanceof SoftflowError)) throw error;
    warn(`The TensorFlow library cannot be had here, so the far slower wasm backend computes. ${error.message}`);
    return openBackend({ name: 'wasm' });
  }
}
