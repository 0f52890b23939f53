import type { NativeOps, OpAttribute } from './backend.ts';
import type { FrozenMatrix, Kernels } from './kernels.ts';
import { type Tensor2D, tf } from './tf.ts';

interface PackedMatrix extends FrozenMatrix {
  /** Id of the packed tensor, which only the ops of setup/native/softflow_linear_ops.cc read. */
  id: number;
  /** Packed transpose, made when a gradient asks for it (bfloat16 alone). */
  transposed?: number;
}

/** The kernels that deal with frozen matrices. */
export type MatrixKernels = Pick<Kernels, 'freeze' | 'rows' | 'linear' | 'linearGrad'>;

/**
 * Frozen matrices in the order in which softflow's own products read them, in float32 or bfloat16. In bfloat16 inputs
 * are rounded and sums are float32; the processor's matrix instructions are used where it has them.
 */
export function packedMatrices(ops: NativeOps, precision: 'f32' | 'bf16'): MatrixKernels {
  const { type, attribute } = ops;
  const half = precision === 'bf16';
  const typed: OpAttribute = { name: 'T', type: attribute.type, value: half ? type.bfloat16 : type.float };
  const whole = (name: string, value: number | number[]): OpAttribute => ({ name, type: attribute.int, value });
  const tensor = (id: number) => ops.tensor(id) as Tensor2D;
  const shape = ({ out, in: inputs }: FrozenMatrix) => [whole('out', out), whole('in', inputs)];
  const idOf = (weight: FrozenMatrix) => (weight as PackedMatrix).id;
  const transposed = (weight: FrozenMatrix) => {
    const packed = weight as PackedMatrix;
    packed.transposed ??= ops.run('SoftflowTransposePacked', shape(weight), [packed.id], 1)[0]!;
    return packed.transposed;
  };
  return {
    freeze(data, out, inSize): FrozenMatrix {
      const matrix = tf.tensor2d(data, [out, inSize]);
      const [id] = ops.run('SoftflowPack', [typed], [ops.idOf(matrix)], 1);
      matrix.dispose();
      const packed: PackedMatrix = {
        id: id!,
        out,
        in: inSize,
        dispose: () => {
          ops.free(packed.id);
          if (packed.transposed !== undefined) ops.free(packed.transposed);
        },
      };
      return packed;
    },
    rows(weight, ids) {
      const indices = tf.tensor1d(ids, 'int32');
      const [rows] = ops.run('SoftflowPackedRows', [typed, ...shape(weight)], [idOf(weight), ops.idOf(indices)], 1);
      indices.dispose();
      return tensor(rows!);
    },
    linear(x, weights) {
      const outs = weights.map(({ out }) => out);
      const attributes = [typed, whole('N', outs.length), whole('outs', outs)];
      return ops.run('SoftflowLinear', attributes, [ops.idOf(x), ...weights.map(idOf)], outs.length).map(tensor);
    },
    linearGrad(dys, weights) {
      const attributes = [typed, whole('N', dys.length), whole('in', weights[0]!.in)];
      const inputs = [...dys.map(ops.idOf), ...weights.map(half ? transposed : idOf)];
      return tensor(ops.run('SoftflowLinearGrad', attributes, inputs, 1)[0]!);
    },
  };
}
