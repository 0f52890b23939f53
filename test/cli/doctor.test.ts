import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  diskCheck,
  hasFault,
  judgeBackend,
  judgeServer,
  judgeSetup,
  judgeUnusedGpu,
  nodeCheck,
} from '../../cli/doctor.ts';
import type { ProbeRow } from '../../setup/probe.ts';

const root = mkdtempSync(join(tmpdir(), 'softflow-doctor-'));
afterAll(() => rmSync(root, { recursive: true }));

const row = (name: string, state: ProbeRow['state']): ProbeRow => ({ name, state, found: 'x', advice: 'do y' });

describe('doctor', () => {
  it('refuses a Node.js that is too old', () => {
    expect(nodeCheck('20.18.1')).toMatchObject({ state: 'fault', advice: 'softflow needs Node.js 20.19 or later.' });
    expect(nodeCheck('20.19.0').state).toBe('ok');
    expect(nodeCheck('24.0.0').state).toBe('ok');
  });

  it('faults a missing compiler only while the library must still be made', () => {
    const missing = row('C++ compiler', 'missing');
    expect(judgeSetup([missing, row('TensorFlow', 'later')])[0]).toMatchObject({ state: 'fault', advice: 'do y' });
    expect(judgeSetup([missing, row('TensorFlow', 'ok')])[0]).toMatchObject({ state: 'warning' });
    expect(judgeSetup([row('system', 'missing'), row('TensorFlow', 'ok')])[0]).toMatchObject({ state: 'fault' });
    expect(judgeSetup([row('Python', 'ok')])[0]).toEqual({ name: 'Python', state: 'ok', found: 'x' });
  });

  it('judges a backend by its op, its gradient and its determinism', () => {
    expect(
      judgeBackend('b', { ok: true, detail: 'op and gradient agree', gflops: 183.4, deterministic: true }),
    ).toEqual({
      name: 'b',
      state: 'ok',
      found: 'op and gradient agree, 183 GFLOP/s, same bytes twice',
    });
    expect(judgeBackend('b', { ok: true, detail: 'd', deterministic: false }).state).toBe('warning');
    expect(judgeBackend('b', { ok: false, detail: 'gradient is wrong' })).toMatchObject({ state: 'fault' });
    expect(judgeBackend('b', { ok: false, absent: true, detail: 'no GPU' }).state).toBe('not tried');
  });

  it('says why the GPU that is there is not used, and what to do', () => {
    const judged = (printed: string) =>
      judgeUnusedGpu('b', { ok: true, detail: '2.21.0 on cpu', device: 'cpu' }, printed);
    const older =
      'E cuda_dnn.cc:456] Loaded runtime CuDNN library: 8.2.4 but source was compiled with: 9.3.0.  CuDNN library needs to have matching major version';
    expect(judged(older)).toMatchObject({
      state: 'warning',
      found: '2.21.0 on cpu; the NVIDIA GPU is not used: cuDNN 8.2.4 is installed, and TensorFlow was built for 9.3.0',
      advice: expect.stringContaining('--backend webgpu'),
    });
    const missing =
      "W dso_loader.cc:59] Could not load dynamic library 'libcudnn.so.9'; dlerror: cannot open\nW gpu_device.cc:2344] Cannot dlopen some GPU libraries.";
    expect(judged(missing).found).toContain('libraries of CUDA are missing: libcudnn.so.9');
    expect(judged('failed call to cuInit: CUDA_ERROR_NO_DEVICE').found).toContain('(CUDA_ERROR_NO_DEVICE)');
    expect(judged('Could not find cuda drivers on your machine').advice).toContain('--gpus all');
    expect(judged('CUDA driver version is insufficient for CUDA runtime version').found).toContain('too old');
    expect(judged('').found).toContain('does not say why');
  });

  it('names the search attributes that a server lacks, and how to make them', () => {
    expect(judgeServer('s', 'here', [])).toEqual({ name: 's', state: 'ok', found: 'here, search attributes known' });
    expect(judgeServer('s', 'here', [{ name: 'SoftflowStage', type: 'Keyword' }])).toMatchObject({
      state: 'warning',
      found: 'here, without the search attributes SoftflowStage',
      advice: expect.stringContaining('search-attribute create --name SoftflowStage --type Keyword'),
    });
  });

  it('compares the bytes of two processes', () => {
    const probe = { ok: true, detail: 'd', deterministic: true, digest: 'a' };
    expect(judgeBackend('b', probe, probe)).toMatchObject({ state: 'ok', found: 'd, same bytes in two processes' });
    const other = judgeBackend('b', probe, { ...probe, digest: 'b' });
    expect(other).toMatchObject({ state: 'warning', found: 'd, not deterministic' });
  });

  it('writes and links a file where the store will be, and leaves nothing', async () => {
    const check = await diskCheck(join(root, 'not', 'there', 'yet'));
    expect(['ok', 'warning']).toContain(check.state);
    expect(readdirSync(root)).toEqual([]);
  });

  it('says that a folder cannot be made below a file', async () => {
    mkdirSync(join(root, 'd'));
    writeFileSync(join(root, 'd', 'file'), '');
    expect((await diskCheck(join(root, 'd', 'file', 'store'))).state).toBe('fault');
  });

  it('fails on a fault, not on a warning', () => {
    expect(hasFault([{ name: 'a', state: 'warning', found: '' }])).toBe(false);
    expect(hasFault([{ name: 'a', state: 'fault', found: '' }])).toBe(true);
  });
});
