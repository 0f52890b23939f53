import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const recipe = fileURLToPath(new URL('../../recipes/planted.yaml', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-planted-'));
const { TEMPORAL_ADDRESS: _, ...env } = process.env;

interface TestMetrics {
  test: { hr: Record<string, number>; windows: number };
}

const softflow = (...args: string[]) =>
  spawnSync(process.execPath, [bin, ...args], { cwd: folder, encoding: 'utf8', env, maxBuffer: 2 ** 26 });

afterAll(() => {
  softflow('dev', 'stop');
  rmSync(folder, { recursive: true });
}, 120_000);

it('SFT and SOFT learn the planted series, which popularity and the base model do not know', () => {
  const { status, stderr } = softflow('run', recipe);
  expect(status, stderr).toBe(0);
  const metrics = readFileSync(join(folder, '.softflow/runs/latest/metrics.json'), 'utf8');
  const { sft, soft, popularity, zeroShot } = (JSON.parse(metrics) as { models: Record<string, TestMetrics> }).models;
  expect(sft?.test.windows).toBe(100);
  for (const model of [sft, soft]) expect(model?.test.hr['10']).toBeGreaterThanOrEqual(0.7);
  for (const model of [popularity, zeroShot]) expect(model?.test.hr['10']).toBeLessThan(0.1);
});
