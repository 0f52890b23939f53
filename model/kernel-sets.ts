import { SoftflowError } from '../errors.ts';
import { type NativeOps, nativeOps } from './backend.ts';
import { bfloat16Kernels } from './bfloat16-kernels.ts';
import { canFuse, fusedKernels } from './fused-kernels.ts';
import type { Kernels } from './kernels.ts';
import { plainKernels } from './plain-kernels.ts';
import { tf } from './tf.ts';
import { webgpuKernels } from './webgpu-kernels.ts';

/**
 * The kernels for a precision of the frozen weights on the open backend.
 * @throws SoftflowError `PRECISION_UNSUPPORTED` when the backend has no bfloat16
 */
export function kernelsFor(precision: 'f32' | 'bf16'): Kernels {
  const ops = nativeOps();
  const base = precision === 'bf16' ? bfloat16(ops) : plainKernels;
  if (tf.getBackend() === 'webgpu') return webgpuKernels;
  return ops !== undefined && canFuse(ops) ? fusedKernels(ops, base, precision) : base;
}

function bfloat16(ops: NativeOps | undefined): Kernels {
  if (ops === undefined)
    throw new SoftflowError(
      'PRECISION_UNSUPPORTED',
      'Expected a TensorFlow backend for `model.precision: bf16`, which this one is not. Use f32, or see `softflow doctor`.',
    );
  return bfloat16Kernels(ops);
}
