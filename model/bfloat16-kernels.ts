import type { NativeOps } from './backend.ts';
import type { FrozenMatrix, Kernels } from './kernels.ts';
import { plainKernels } from './plain-kernels.ts';
import { type Tensor2D, tf, tidy } from './tf.ts';

interface Bfloat16Matrix extends FrozenMatrix {
  /** Id of the bfloat16 tensor, [out, in]; tfjs has no such type, so it lives outside its engine. */
  id: number;
}

/**
 * The plain kernels with frozen matrices in bfloat16: products read and multiply bfloat16 and sum in float32 inside
 * the library; everything else stays float32.
 */
export function bfloat16Kernels(ops: NativeOps): Kernels {
  const { type, attribute } = ops;
  const typed = (name: string, value: number) => ({ name, type: attribute.type, value });
  const flag = (name: string, value: boolean) => ({ name, type: attribute.bool, value });
  const cast = (id: number, from: number, to: number) =>
    ops.run('Cast', [typed('SrcT', from), typed('DstT', to), flag('Truncate', false)], [id], 1)[0]!;
  const toFloat = (id: number) => {
    const result = ops.tensor(cast(id, type.bfloat16, type.float)) as Tensor2D;
    ops.free(id);
    return result;
  };
  const multiply = (x: Tensor2D, weight: FrozenMatrix, transpose: boolean): Tensor2D => {
    const input = cast(ops.idOf(x), type.float, type.bfloat16);
    const attributes = [typed('T', type.bfloat16), flag('transpose_a', false), flag('transpose_b', transpose)];
    const product = ops.run('MatMul', attributes, [input, (weight as Bfloat16Matrix).id], 1)[0]!;
    ops.free(input);
    return toFloat(product);
  };
  return {
    ...plainKernels,
    name: 'bfloat16',
    freeze(data, out, inSize): Bfloat16Matrix {
      const whole = tf.tensor2d(data, [out, inSize]);
      const id = cast(ops.idOf(whole), type.float, type.bfloat16);
      whole.dispose();
      return { id, out, in: inSize, dispose: () => ops.free(id) };
    },
    rows(weight, ids) {
      const indices = tf.tensor1d(ids, 'int32');
      const axis = tf.scalar(0, 'int32');
      const attributes = [
        typed('Tparams', type.bfloat16),
        typed('Tindices', type.int32),
        typed('Taxis', type.int32),
        { name: 'batch_dims', type: attribute.int, value: 0 },
      ];
      const inputs = [(weight as Bfloat16Matrix).id, ops.idOf(indices), ops.idOf(axis)];
      const result = toFloat(ops.run('GatherV2', attributes, inputs, 1)[0]!);
      tf.dispose([indices, axis]);
      return result;
    },
    linear: (x, weights) => weights.map((weight) => multiply(x, weight, true)),
    linearGrad: (dys, weights) => tidy(() => tf.addN(dys.map((dy, i) => multiply(dy, weights[i]!, false))) as Tensor2D),
  };
}
