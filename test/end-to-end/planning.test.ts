import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PlanReport } from '../../cli/plan-view.ts';
import type { LogLine } from '../../workers/log-lines.ts';

/** The commands around a run as processes, with a tiny random model, real workers and trainers. */
const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const model = fileURLToPath(new URL('../reference/tiny-llama', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-planning-'));
const { TEMPORAL_ADDRESS: _, ...env } = process.env;

const RECIPE = `
name: tiny
model: {source: {folder: ${model}}}
data:
  source: {planted: {series: 20, users: 60, seriesPerUser: 3}}
  kCore: 1
  samples: {train: 48, valid: 8, test: 8}
train: {batchSize: 8, microBatchSize: 4, maxEpochs: 1}
soft: {distancePrompts: 8}
generation: {maxNewTokens: 12, beamWidth: 2, tileRows: 4}
evaluation: {ks: [1, 5, 10]}
checkpoint: {every: 0.05}
`;

function softflow(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [bin, ...args], { cwd: folder, encoding: 'utf8', env });
}
function plan(...args: string[]): PlanReport {
  return JSON.parse(softflow('plan', 'tiny.yaml', '--json', ...args).stdout) as PlanReport;
}

beforeAll(() => writeFileSync(join(folder, 'tiny.yaml'), RECIPE));
afterAll(() => {
  softflow('dev', 'stop');
  rmSync(folder, { recursive: true });
}, 120_000);

describe('before, while and after a run', { timeout: 300_000 }, () => {
  it('plan measures what every step will take, and writes nothing into the folder', () => {
    const { steps, total, fits, backend, currency } = plan('-s', 'cost.perHour=36000', '-s', 'cost.currency=EUR');
    const find = (id: string) => steps.find((step) => step.id === id);
    expect(find('prepare')).toMatchObject({ action: 'run', dependsOn: [] });
    expect(find('sft-1-train')).toMatchObject({ action: 'run', dependsOn: ['Prepare data'], rows: 48 });
    expect(find('sft-1-validate')?.rows).toBe(8);
    expect(find('soft-0-distance')?.rows).toBe(8);
    for (const { step, seconds = 0, cost = 0, peakBytes = 0 } of steps) {
      expect(cost).toBeCloseTo(seconds * 10, 6);
      if (step === 'trainEpoch' || step === 'evaluate') expect(Math.min(seconds, peakBytes)).toBeGreaterThan(0);
    }
    expect(total.seconds).toBeCloseTo(
      steps.reduce((sum, { seconds = 0 }) => sum + seconds, 0),
      6,
    );
    expect([fits, backend, currency]).toEqual([true, 'tensorflow', 'EUR']);
    expect(existsSync(join(folder, '.softflow'))).toBe(false);
  });

  it('plan takes no micro-batch for larger than all train windows', () => {
    const { fits, steps } = plan('-s', 'train.batchSize=10000000', '-s', 'train.microBatchSize=10000000');
    const peak = steps.find(({ id }) => id === 'sft-1-train')?.peakBytes ?? 0;
    expect([fits, peak < 2e9]).toEqual([true, true]);
  });

  it('plan ends with 3 when a step does not fit, and says what to lower', () => {
    // Some 1.8 MB a sample: half as much again as this machine has.
    const rows = Math.ceil((1.5 * totalmem()) / 1.8e6);
    const sizes = ['data.source.planted.users', 'data.samples.train', 'train.batchSize', 'train.microBatchSize'];
    const settings = sizes.flatMap((size) => ['-s', `${size}=${rows}`]);
    const { status, stdout, stderr } = softflow('plan', 'tiny.yaml', ...settings);
    expect(status).toBe(3);
    expect(stdout).toContain('SFT epoch 1: train');
    expect(stderr).toContain('WILL_NOT_FIT');
    expect(stderr).toContain(`lower train.microBatchSize (${rows})`);
  });

  it('demo --kill really kills, and ends with the same bytes as the run that was left alone', () => {
    const { status, stdout } = softflow('demo', 'tiny.yaml', '--kill', '--kills', '2', '--json');
    const compared = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
      equal: boolean;
      kills: unknown[];
      files: { file: string; killed: string; undisturbed: string }[];
    };
    expect([status, compared.equal]).toEqual([0, true]);
    expect(compared.kills.length).toBeGreaterThan(0);
    expect(compared.files.map(({ file }) => file)).toEqual(['adapter/adapter_model.safetensors', 'metrics.json']);
    for (const { killed, undisturbed } of compared.files)
      expect([killed, killed]).toEqual([undisturbed, expect.stringMatching(/^[0-9a-f]{64}$/)]);
  });

  it('logs tell what workers wrote for the run and for one of its steps', () => {
    const lines = softflow('logs', 'latest', '--json')
      .stdout.trim()
      .split('\n')
      .map((line) => JSON.parse(line) as LogLine);
    expect(new Set(lines.map(({ run }) => run)).size).toBe(1);
    expect(lines.map(({ message }) => message)).toContain('prepareData begins');
    const { stdout } = softflow('logs', 'latest', '--step', 'sft-1-train', '--follow');
    expect(stdout).toMatch(/SFT epoch 1: train {2}trainEpoch begins\n.* {2}trainEpoch done in [\d.]+ s\n$/);
    expect(softflow('logs', 'latest', '--step', 'sft-1-trian')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('did you mean "sft-1-train"?'),
    });
  });

  it('plan then reuses all but the report, which costs no calibration', () => {
    const { steps, total } = plan();
    expect(steps.filter(({ action }) => action === 'run').map(({ id }) => id)).toEqual(['report']);
    expect(total).toEqual({ seconds: 0, peakBytes: 0 });
    expect(softflow('completion', 'runs').stdout).toMatch(/^latest\ntiny-[0-9a-f]{8}\n$/);
  });
});
