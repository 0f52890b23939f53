import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

function softflow(args: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: folder, ...env },
  });
  return { status, stdout, stderr };
}

const GOOD = 'model: {source: {registry: smollm2-135m-instruct}}\ndata: {source: {registry: movielens-100k}}\n';

beforeAll(() => {
  writeFileSync(join(folder, 'good.yaml'), GOOD);
  writeFileSync(join(folder, 'bad.yaml'), `${GOOD}soft:\n    curiculumAlpha: 1\n`);
  softflow(['--version']);
}, 120_000);

describe('the command', () => {
  it('prints its version', () => {
    expect(softflow(['--version'])).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
      stderr: '',
    });
  });

  it('starts in under half a second', () => {
    const times = [1, 2, 3].map(() => {
      const start = performance.now();
      softflow(['--version']);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(500);
  });

  it('validates a good recipe with exit code 0', () => {
    const { status, stdout } = softflow(['validate', 'good.yaml']);
    expect(status).toBe(0);
    expect(stdout).toContain('Next: softflow plan good.yaml, then softflow run good.yaml');
    expect(JSON.parse(softflow(['validate', 'good.yaml', '--json']).stdout)).toEqual({
      valid: true,
      file: join(folder, 'good.yaml'),
      name: 'soft',
    });
  });

  it('refuses a bad recipe with exit code 2, the place and the code on stderr, without colour', () => {
    const { status, stdout, stderr } = softflow(['validate', 'bad.yaml']);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toBe(
      'error CONFIG_INVALID: bad.yaml:4:5 soft.curiculumAlpha: unknown key, did you mean "curriculumAlpha"?\n',
    );
  });

  it.each([
    [['validate', 'none.yaml'], 'CONFIG_UNREADABLE: none.yaml: no such file'],
    [['validate'], "missing required argument 'recipe'"],
    [['validat', 'x'], "unknown command 'validat'\n(Did you mean validate?)"],
    [['validate', 'good.yaml', '--jsno'], "unknown option '--jsno'\n(Did you mean --json?)"],
    [['validate', 'good.yaml', '-s', 'soft.curiculumAlpha=1'], '-s soft.curiculumAlpha=1: unknown key'],
  ])('exits with 2 on %j', (args, message) => {
    const { status, stderr } = softflow(args);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });

  it('shows a recipe with every default and override', () => {
    const { status, stdout } = softflow(['config', 'show', 'good.yaml', '-s', 'seed=7', '--json']);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ seed: 7, train: { batchSize: 256 } });
  });

  it('prints the schema, and ends quietly when the reader does', () => {
    expect(JSON.parse(softflow(['config', 'schema']).stdout)).toMatchObject({
      type: 'object',
      required: ['model', 'data'],
    });
    const piped = spawnSync('sh', ['-c', `"${process.execPath}" "${bin}" config schema | head -n 1`], {
      encoding: 'utf8',
    });
    expect(piped.stderr).toBe('');
  });

  it('has help in groups, the first thing to do first, and also as a command', () => {
    const { stdout } = softflow(['--help']);
    expect([...stdout.matchAll(/^[A-Z].*:$/gm)].map(([heading]) => heading)).toEqual([
      'Options:',
      'Begin:',
      'Runs:',
      'Results:',
      'Retraining and releases:',
      'Store, server and workers:',
    ]);
    expect(stdout.search(/^ {2}init \[file\] {2}/m)).toBeLessThan(stdout.search(/^ {2}run <recipe> {2}/m));
    expect(softflow(['help'])).toEqual({ status: 0, stdout, stderr: '' });
    expect(softflow(['help', 'run']).stdout).toBe(softflow(['run', '--help']).stdout);
  });

  it('has help with examples for every command', () => {
    const names = [...softflow(['--help']).stdout.matchAll(/^ {2}([a-z]+) .*$/gm)].map((match) => match[1] as string);
    expect(names).toContain('validate');
    for (const name of names.filter((each) => each !== 'help')) {
      const { status, stdout } = softflow([name, '--help']);
      expect(status, name).toBe(0);
      expect(stdout, name).toContain(`Usage: softflow ${name}`);
      expect(stdout, name).toMatch(/Examples:\n {2}\$ .*softflow |Commands:/);
    }
  });
});
