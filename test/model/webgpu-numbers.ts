import { openBackend } from '../../model/backend.ts';
import { kernelsFor } from '../../model/kernel-sets.ts';
import type { Kernels } from '../../model/kernels.ts';
import { plainKernels } from '../../model/plain-kernels.ts';
import { tf } from '../../model/tf.ts';
import { type BackendNumbers, computeNumbers, largestDifference, relativeDifference } from './backend-numbers.ts';
import { KERNEL_CASES } from './kernel-cases.ts';

/** What the process prints as its last line. */
export interface WebgpuNumbers {
  fingerprint: Record<string, string>;
  kernels: string;
  numbers: BackendNumbers;
  /** From the plain kernels on tfjs's own JavaScript backend. */
  difference: number;
  sameBeams: boolean;
  /** By kernel: relative difference of its outputs from the plain one's, and tensors left behind. */
  cases: Record<string, { differences: number[]; leaked: number }>;
  numBytesInGPU: number;
  /** Code of what reading throws once the GPU has failed. */
  failure?: string;
}

/** A process of its own, since the system's GPU driver is chosen when it starts. */
async function main(path: string, version: string): Promise<WebgpuNumbers> {
  await openBackend({ name: 'cpu' });
  const expected = await computeNumbers();
  const plain = Object.entries(KERNEL_CASES).map(([name, run]): [string, number[][]] => [
    name,
    read(run, plainKernels),
  ]);
  const { fingerprint } = await openBackend({ name: 'webgpu', dawn: { path, version } });
  const kernels = kernelsFor('f32');
  const numbers = await computeNumbers();
  const cases: WebgpuNumbers['cases'] = {};
  for (const [name, outputs] of plain) {
    const before = tf.memory().numTensors;
    const actual = read(KERNEL_CASES[name]!, kernels);
    const differences = actual.map((values, i) => relativeDifference(values, outputs[i]!));
    cases[name] = { differences, leaked: tf.memory().numTensors - before };
  }
  const { numBytesInGPU } = tf.memory() as unknown as { numBytesInGPU: number };
  return {
    fingerprint,
    kernels: kernels.name,
    numbers,
    difference: largestDifference(numbers, expected),
    sameBeams: numbers.beams.join() === expected.beams.join(),
    cases,
    numBytesInGPU,
    ...fail(),
  };
}

function read(run: (kernels: Kernels) => { dataSync(): ArrayLike<number>; dispose(): void }[], kernels: Kernels) {
  return run(kernels).map((tensor) => {
    const values = Array.from(tensor.dataSync());
    tensor.dispose();
    return values;
  });
}

function fail(): { failure?: string } {
  try {
    // 16 GiB: more than a buffer may have.
    tf.slice(tf.fill([2 ** 16, 2 ** 16], 1), [0, 0], [1, 1]).dataSync();
    return {};
  } catch (error) {
    return { failure: (error as { code: string }).code };
  }
}

const [path, version] = process.argv.slice(2) as [string, string];
process.stdout.write(`\n${JSON.stringify(await main(path, version))}\n`);
process.exit(0);
