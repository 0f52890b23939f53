import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

/** Every program of examples/ as a reader starts it, one after the other in one folder, with a tiny random model. */
const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-examples-'));
const { TEMPORAL_ADDRESS: _, NODE_OPTIONS: __, ...env } = process.env;

function node(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env });
  expect(status, stdout + stderr).toBe(0);
  return stdout;
}
const example = (name: string) => node(path(`examples/${name}.mjs`), path('test/reference/tiny-llama'));

afterAll(() => {
  node(path('bin/softflow.mjs'), 'dev', 'stop');
  rmSync(folder, { recursive: true });
}, 120_000);

describe('the examples', { timeout: 180_000 }, () => {
  it('programmatic-run starts a run, follows it and writes its folder', () => {
    expect(example('programmatic-run')).toMatch(/written to \.softflow\/runs\/example-/);
  });

  it('own-worker runs SOFT as a part of a workflow of its own', () => {
    const output = example('own-worker');
    expect(output).toMatch(/announced: books-\d+-soft: 1 rounds of the curriculum/);
    expect(output).toMatch(/finished books-\d+-soft/);
  });

  it('replaced-activity computes one step itself and reuses what does not depend on it', () => {
    const output = example('replaced-activity');
    const [, reused, all] = /(\d+) of (\d+) steps were reused/.exec(output) ?? [];
    expect(Number(all) - Number(reused)).toBe(3);
    const runs = join(folder, '.softflow', 'runs');
    const models = (run: string) => JSON.parse(readFileSync(join(runs, run, 'metrics.json'), 'utf8')).models;
    const replaced = /runs\/(example-\w+)/.exec(output)?.[1] ?? '';
    const first = readdirSync(runs).find((name) => name.startsWith('example-') && name !== replaced) ?? '';
    expect(models(replaced).soft).toEqual(models(first).soft);
    expect(models(replaced).popularity).not.toEqual(models(first).popularity);
  });

  it('own-data goes from two CSV files to recommendations for new people', () => {
    const output = example('own-data');
    expect(output).toContain('user_id,rank,item_id,title,score');
    expect(output.match(/^(anna|ben),[123],b\d\d,/gm)).toHaveLength(6);
  });

  it('are all run: here, in the walk through retraining (growing-csv) or as what others import', () => {
    const programs = readdirSync(path('examples')).filter((name) => name.endsWith('.mjs'));
    expect(programs.sort()).toEqual([
      'growing-csv.mjs',
      'own-data.mjs',
      'own-worker.mjs',
      'own-workflows.mjs',
      'programmatic-run.mjs',
      'replaced-activity.mjs',
      'small-run.mjs',
    ]);
  });
});
