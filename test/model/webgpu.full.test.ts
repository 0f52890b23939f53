import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { openBackend } from '../../model/backend.ts';
import { softwareGpu } from '../support/swiftshader.ts';
import { type BackendNumbers, computeNumbers, largestDifference } from './backend-numbers.ts';

const gpu = await softwareGpu();
const there = 'dawn' in gpu;
const title = there ? 'on SwiftShader' : `(skipped, no SwiftShader: ${gpu.reason})`;

interface Answer {
  fingerprint: Record<string, string>;
  numbers: BackendNumbers;
  numBytesInGPU: number;
  failure: string;
}

/** Runs the TypeScript file `script` beside this one with Dawn, and gives its answer. */
async function run(script: string, env: NodeJS.ProcessEnv = {}): Promise<Answer> {
  if (!there) throw new RangeError('no SwiftShader');
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', path('../support/ts-loader.mjs'), path(script), gpu.dawn.path, gpu.dawn.version],
    { env: { ...process.env, NODE_OPTIONS: '', ...gpu.env, ...env }, maxBuffer: 2 ** 28 },
  );
  return JSON.parse(stdout) as Answer;
}

/** SwiftShader compiles every program anew, on cores that others use as well. */
const PATIENCE_MS = 600_000;

describe.skipIf(!there)(`the webgpu backend ${title}`, { timeout: PATIENCE_MS }, () => {
  it('gives the numbers of the plain kernels, the same bytes in two processes, and leaves nothing behind', async () => {
    await openBackend({ name: 'cpu' });
    const expected = await computeNumbers();
    const [first, second] = [await run('./webgpu-numbers.ts'), await run('./webgpu-numbers.ts')];
    expect(largestDifference(first.numbers, expected)).toBeLessThan(1e-5);
    expect(first.numbers.beams).toEqual(expected.beams);
    expect(first.numbers.leaked).toBe(0);
    expect(first.numBytesInGPU).toBe(0);
    expect(second).toEqual(first);
    expect(first.fingerprint).toMatchObject({ backend: 'webgpu', backendVersion: expect.stringMatching(/^Dawn /) });
    expect(first.fingerprint['device']).toMatch(/swiftshader/i);
    expect(first.fingerprint['driver']).toMatch(/SwiftShader/);
    expect(first.failure).toBe('WEBGPU_FAILED');
  });

  it('refuses a GPU that is made of software when nobody has asked for one', async () => {
    const refused = run('./webgpu-numbers.ts', { SOFTFLOW_WEBGPU_SOFTWARE: '' });
    await expect(refused).rejects.toThrow(/WEBGPU_NO_DEVICE|only google swiftshader.*computes on the processor/i);
  });
});
