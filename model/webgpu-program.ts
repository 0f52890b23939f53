import type { WebGPUBackend, WebGPUProgram } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type Tensor, tf } from './tf.ts';

/** Threads of a workgroup; what a workgroup adds up it adds in an order that depends on nothing else. */
export const GROUP = 128;

/** A computation on the GPU, written in WGSL; it makes one tensor, float32. */
export interface Program {
  /** Names the code: programs of one name are compiled once. */
  name: string;
  /** By the names that the code has for them; `x[i]` is element i in row-major order. */
  inputs: Record<string, Tensor>;
  /** Of the result, which the code writes as `result[i]`. */
  shape: number[];
  /** Numbers that the code reads as `uniforms.name`. */
  whole?: Record<string, number>;
  real?: Record<string, number>;
  /** Functions that the code calls. */
  functions?: string;
  /** Statements: for element `index` of the result, or for the workgroup (`group.x`, `group.y`) and its thread `thread`. */
  code: string;
  /** How many workgroups share the work; without it each element has a thread of its own. */
  groups?: [number, number];
  /** Elements are written into this tensor instead of a new one; `shape` says how many. */
  into?: Tensor;
}

/** Adds up, or takes the greatest of, one value of each thread; every thread of the workgroup must call it. */
const REDUCTIONS = ['sumOf:a + b', 'greatestOf:max(a, b)']
  .map((each) => each.split(':'))
  .map(
    ([name, both]) => `
    fn ${name}(value : f32) -> f32 {
      shared_[localIndex] = value;
      workgroupBarrier();
      for (var step = ${GROUP / 2}u; step > 0u; step = step >> 1u) {
        if (localIndex < step) {
          let a = shared_[localIndex];
          let b = shared_[localIndex + step];
          shared_[localIndex] = ${both};
        }
        workgroupBarrier();
      }
      let total = shared_[0];
      workgroupBarrier();
      return total;
    }`,
  )
  .join('\n');

/** Runs a program on the open backend, which must be WebGPU; the tensor belongs to the caller. */
export function run(program: Program): Tensor {
  const backend = tf.backend() as unknown as WebGPUBackend;
  const uniforms = [
    ...Object.entries(program.whole ?? {}).map(([name, value]) => ({ name, type: 'int32', wgsl: 'i32', value })),
    ...Object.entries(program.real ?? {}).map(([name, value]) => ({ name, type: 'float32', wgsl: 'f32', value })),
  ];
  const made = backend.runWebGPUProgram(
    describe(program, uniforms.map(({ name, wgsl }) => `${name} : ${wgsl},`).join(' ')),
    Object.values(program.inputs) as TensorInfo[],
    'float32',
    uniforms.map(({ type, value }) => ({ type, data: [value] })),
    program.into as TensorInfo | undefined,
  );
  return program.into ?? (tf.engine() as unknown as Engine).makeTensorFromTensorInfo(made);
}

interface Engine {
  makeTensorFromTensorInfo(info: TensorInfo): Tensor;
}

function describe({ name, inputs, shape, functions = '', code, groups }: Program, uniforms: string): WebGPUProgram {
  const elements = shape.reduce((product, n) => product * n, 1);
  const all = shape.map((_, i) => i);
  const main = groups
    ? `var<workgroup> shared_ : array<f32, ${GROUP}>;
      ${REDUCTIONS}
      ${functions}
      fn main() {
        let group = vec2<i32>(workgroupId.xy);
        let thread = i32(localIndex);
        ${code}
      }`
    : `${functions}
      fn main(index : i32) {
        if (index < uniforms.size) {
          ${code}
        }
      }`;
  return {
    variableNames: Object.keys(inputs),
    outputShape: shape,
    shaderKey: `softflow_${name}`,
    // What the package derives from the layout is not used here, but that a second dimension means workgroups.
    dispatchLayout: groups ? { x: [0], y: all.slice(1) } : { x: all },
    dispatch: groups ? [...groups, 1] : [Math.ceil(elements / GROUP), 1, 1],
    workgroupSize: [GROUP, 1, 1],
    ...(uniforms && { uniforms }),
    size: groups === undefined,
    getUserCode: () => main,
  };
}
