import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { softwareGpu } from '../support/swiftshader.ts';
import { KERNEL_CASES } from './kernel-cases.ts';
import type { WebgpuNumbers } from './webgpu-numbers.ts';

const gpu = await softwareGpu();
const there = 'dawn' in gpu;
const title = there ? 'on SwiftShader' : `(skipped, no SwiftShader: ${gpu.reason})`;
/** SwiftShader compiles every program anew, on cores that others use as well. */
const PATIENCE_MS = 600_000;

/** The numbers of a process that computes with WebGPU. */
async function compute(env: NodeJS.ProcessEnv = {}): Promise<WebgpuNumbers> {
  if (!there) throw new RangeError('no SwiftShader');
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
  const script = ['--import', path('../support/ts-loader.mjs'), path('./webgpu-numbers.ts')];
  const { stdout } = await promisify(execFile)(process.execPath, [...script, gpu.dawn.path, gpu.dawn.version], {
    env: { ...process.env, NODE_OPTIONS: '', ...gpu.env, ...env },
    maxBuffer: 2 ** 28,
  });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as WebgpuNumbers;
}

describe.skipIf(!there)(`the webgpu backend ${title}`, { timeout: PATIENCE_MS }, () => {
  it('gives the numbers of the plain kernels, the same bytes in two processes, and leaves nothing behind', async () => {
    const first = await compute();
    expect(first.kernels).toBe('webgpu');
    expect(first.fingerprint).toMatchObject({ backend: 'webgpu', backendVersion: expect.stringMatching(/^Dawn \d/) });
    expect(first.fingerprint['device']).toMatch(/swiftshader/i);
    expect(first.fingerprint['driver']).toMatch(/SwiftShader/);
    expect(first.difference).toBeLessThan(3e-6);
    expect(first.sameBeams).toBe(true);
    expect(Object.keys(first.cases)).toEqual(Object.keys(KERNEL_CASES));
    for (const [name, { differences, leaked }] of Object.entries(first.cases)) {
      const tolerance = name.startsWith('dropout') ? 0 : 3e-6;
      expect(Math.max(...differences), name).toBeLessThanOrEqual(tolerance);
      expect(leaked, name).toBe(0);
    }
    expect(first.numbers.leaked).toBe(0);
    expect(first.numBytesInGPU).toBe(0);
    expect(first.failure).toBe('WEBGPU_FAILED');
    expect(await compute()).toEqual(first);
  });

  it('refuses a GPU that is made of software when nobody has asked for one', async () => {
    await expect(compute({ SOFTFLOW_WEBGPU_SOFTWARE: '' })).rejects.toThrow(/computes on the processor/);
  });
});
