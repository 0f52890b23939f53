import { chmodSync, cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { loadTfjsNode } from '../../model/tfjs-node.ts';
import { cacheRoot } from '../../setup/cache.ts';
import { ensureModel } from '../../setup/model-source.ts';
import { ensureTensorflow, findTensorflow } from '../../setup/tensorflow.ts';
import { useTemporaryCache } from './temporary-cache.ts';

describe('TensorFlow in the cache', () => {
  it('loads, multiplies, differentiates and runs a library op by name', async () => {
    const { addonPath, version } = await ensureTensorflow();
    const tf = loadTfjsNode(addonPath);
    const { binding } = tf.backend() as unknown as { binding: { TF_Version: string; getNumOfTensors: () => number } };
    expect(tf.getBackend()).toBe('tensorflow');
    expect(binding.TF_Version).toBe(version);
    const x = tf.tensor([1, 2, 3, 4], [2, 2]);
    expect([...tf.matMul(x, x).dataSync()]).toEqual([7, 10, 15, 22]);
    const [gradient] = tf.grads((a) => a.square().sum())([x]);
    expect([...(gradient?.dataSync() ?? [])]).toEqual([2, 4, 6, 8]);
    expect([...tf.topk(tf.tensor1d([1, 3, 2]), 2).indices.dataSync()]).toEqual([1, 2]);
  });

  it('is found without work once it is there', async () => {
    const made = await ensureTensorflow();
    expect(await findTensorflow()).toEqual(made);
  });

  it('says what cannot be loaded', () => {
    expect(() => loadTfjsNode('/no/such/tfjs_binding.node')).toThrow(/no\/such.*softflow doctor/);
  });
});

describe('without a compiler', () => {
  const filled = cacheRoot();
  const root = useTemporaryCache();

  it('names the package to install, and leaves no addon behind', async () => {
    const library = dirname((await findTensorflowIn(filled)).libDir);
    mkdirSync(join(root(), 'tensorflow'));
    symlinkSync(library, join(root(), 'tensorflow', library.split('/').at(-1) ?? ''));
    vi.stubEnv('CXX', join(root(), 'no-such-compiler'));
    await expect(ensureTensorflow()).rejects.toMatchObject({
      code: 'SETUP_NO_COMPILER',
      message: expect.stringMatching(/apt install g\+\+/),
    });
    expect(readdirSync(root()).includes('tfjs-addon')).toBe(false);
  });

  it('shows the last lines of one that fails', async () => {
    const library = dirname((await findTensorflowIn(filled)).libDir);
    mkdirSync(join(root(), 'tensorflow'));
    symlinkSync(library, join(root(), 'tensorflow', library.split('/').at(-1) ?? ''));
    const compiler = join(root(), 'compiler');
    writeFileSync(compiler, '#!/bin/sh\necho "fatal error: no such header" >&2\nexit 1\n');
    chmodSync(compiler, 0o755);
    vi.stubEnv('CXX', compiler);
    await expect(ensureTensorflow()).rejects.toMatchObject({
      code: 'SETUP_COMPILE_FAILED',
      message: expect.stringMatching(/exit status 1[\s\S]*no such header[\s\S]*g\+\+ 9/),
    });
  });

  it('names the platforms that have a library on one that has none', async () => {
    const { arch } = process;
    Object.defineProperty(process, 'arch', { value: 'mips' });
    try {
      await expect(ensureTensorflow()).rejects.toMatchObject({
        code: 'SETUP_UNSUPPORTED_PLATFORM',
        message: expect.stringContaining('expected Linux on x64 or arm64'),
      });
    } finally {
      Object.defineProperty(process, 'arch', { value: arch });
    }
  });

  it('works with a copied cache folder, with no Python, compiler or network', async () => {
    const models = join(filled, 'models');
    cpSync(models, join(root(), 'models'), { recursive: true });
    vi.stubEnv('SOFTFLOW_PYTHON', join(root(), 'no-such-python'));
    const path = await ensureModel({ registry: 'smollm2-135m-instruct' });
    expect(path.startsWith(root())).toBe(true);
  });

  it('refuses a registry model that it does not know and names those it does', async () => {
    await expect(ensureModel({ registry: 'gpt-9' })).rejects.toMatchObject({
      code: 'MODEL_UNKNOWN',
      message: expect.stringContaining('smollm2-135m-instruct'),
    });
  });
});

async function findTensorflowIn(cache: string) {
  const temporary = process.env['SOFTFLOW_CACHE'];
  process.env['SOFTFLOW_CACHE'] = cache;
  const found = await findTensorflow();
  process.env['SOFTFLOW_CACHE'] = temporary;
  if (!found) throw new Error('the cache of the tests has no TensorFlow');
  return found;
}
