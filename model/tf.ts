import { createRequire } from 'node:module';
import type * as Tfjs from '@tensorflow/tfjs-node-gpu';

const require = createRequire(import.meta.url);
/** The same TensorFlow.js that `@tensorflow/tfjs-node-gpu` registers its kernels with. */
const requireBesideTfjsNode = createRequire(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));

/** The TensorFlow.js API; it has a backend once `openBackend` (backend.ts) has registered one. */
export const tf = requireBesideTfjsNode('@tensorflow/tfjs') as typeof Tfjs;
export type Tensor = Tfjs.Tensor;
export type Tensor1D = Tfjs.Tensor1D;
export type Tensor2D = Tfjs.Tensor2D;
export type Tensor3D = Tfjs.Tensor3D;
export type Tensor4D = Tfjs.Tensor4D;
export type TensorContainer = Tfjs.TensorContainer;

/** `tf.tidy` for any result: frees every tensor made inside that is not in what it returns. */
export function tidy<T>(body: () => T): T {
  return tf.tidy(body as () => TensorContainer) as T;
}
