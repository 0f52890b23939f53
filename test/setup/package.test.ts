import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** The tarball as a stranger gets it: installed into an empty project, install scripts off, nothing of this folder in reach. */
const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const folder = mkdtempSync(join(tmpdir(), 'softflow-package-'));
const project = join(folder, 'project');
const { NODE_OPTIONS: _, TEMPORAL_ADDRESS: __, ...env } = process.env;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(command: string, args: string[], cwd = project) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  return { status, stdout, stderr };
}
const softflow = (...args: string[]) => run(join('node_modules', '.bin', 'softflow'), args);

const packed = run(process.execPath, [join(root, 'bin', 'pack.mjs'), '--pack-destination', folder], root);
const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
const files = run('tar', ['-tzf', join(folder, tarball)], folder)
  .stdout.split('\n')
  .filter(Boolean);
mkdirSync(project);
writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
const install = ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
const installed = run('npm', [...install, '--fetch-retries=1', '--fetch-timeout=60000', join(folder, tarball)]);
const unreachable = /E(NOTFOUND|CONNREFUSED|AI_AGAIN|TIMEDOUT|NETUNREACH|NOTCACHED|CONNRESET)/.exec(
  installed.stderr,
)?.[0];

it('is packed with everything that it needs at run time, and nothing of the tests', () => {
  expect(packed.status, packed.stderr).toBe(0);
  const names = files.map((file) => file.replace(/^package\//, ''));
  expect(names).toEqual(
    expect.arrayContaining([
      'bin/softflow.mjs',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/workflows/index.js',
      'dist/workflows/bundle.cjs',
      'dist/workers/trainer.js',
      'docs/config.schema.json',
      'docs/activities.schema.json',
      'examples/own-worker.mjs',
      'recipes/demo.yaml',
      'setup/native/softflow_ops.cc',
      'LICENSE',
      'README.md',
    ]),
  );
  expect(
    names.filter((name) => /^(test|node_modules|bench|dist\/bench)\/|\.tsbuildinfo$|(?<!\.d)\.ts$/.test(name)),
  ).toEqual([]);
});

describe.skipIf(unreachable)(
  `the package in an empty project${unreachable ? ` (skipped, no registry: ${unreachable})` : ''}`,
  { timeout: 180_000 },
  () => {
    const inside = (...path: string[]) => join(project, 'node_modules', 'softflow', ...path);

    beforeAll(() => expect(installed.status, installed.stderr).toBe(0));

    it('names no path of the machine that packed it', () => {
      const naming = readdirSync(inside(), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !entry.parentPath.includes(join('softflow', 'node_modules')))
        .map((entry) => join(entry.parentPath, entry.name))
        .filter((file) => {
          const text = readFileSync(file, 'latin1');
          const map = /sourceMappingURL=data:[^,]*,([A-Za-z0-9+/=]+)/.exec(text)?.[1] ?? '';
          return text.includes(root) || Buffer.from(map, 'base64').includes(root);
        });
      expect(naming).toEqual([]);
    });

    it('has the command: version, help, a recipe of its own, the schema', () => {
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
      expect(softflow('--version')).toMatchObject({ status: 0, stdout: `${version}\n` });
      expect(softflow('--help').stdout).toContain('Usage: softflow [options]');
      const recipe = inside('recipes', 'planted.yaml');
      expect(softflow('validate', recipe)).toMatchObject({ status: 0 });
      expect(softflow('validate', recipe, '-s', 'soft.curiculumAlpha=1')).toMatchObject({ status: 2 });
      const schema = JSON.parse(softflow('config', 'schema').stdout);
      expect(schema).toEqual(JSON.parse(readFileSync(inside('docs', 'config.schema.json'), 'utf8')));
      expect(readFileSync(recipe, 'utf8')).toContain('$schema=../docs/config.schema.json');
    });

    it('has the API, whose types a strict compiler accepts and holds a program to', () => {
      const program = [
        "import { NativeConnection, Worker } from '@temporalio/worker';",
        "import { type ArtifactRef, defineRun, type Replacements, SoftflowPlugin, type StepBody, workflowsPath } from 'softflow';",
        "import { softWorkflow } from 'softflow/workflows';",
        "export const config = defineRun({ model: { source: { folder: 'model' } }, data: { source: { planted: {} } } });",
        "export const body: StepBody<'evaluatePopularity'> = async (store, { inputs, params }) => {",
        '  const windows: ArtifactRef = inputs.windows;',
        '  return { outputs: { predictions: windows }, result: { hr: { [String(params.ks[0])]: 0 }, ndcg: {}, windows: 0 } };',
        '};',
        'export const replace: Replacements = { evaluatePopularity: { contractVersion: 1000, compute: body } };',
        'export async function work(): Promise<void> {',
        '  const connection = await NativeConnection.connect();',
        "  const plugins = [new SoftflowPlugin({ storeRoot: 'store', replace })];",
        "  await (await Worker.create({ connection, taskQueue: 'team', plugins })).run();",
        '}',
        'export const name: string = softWorkflow.name + workflowsPath;',
      ];
      writeFileSync(join(project, 'program.ts'), `${program.join('\n')}\n`);
      writeFileSync(join(project, 'wrong.ts'), "import { defineRun } from 'softflow';\ndefineRun({ seed: 'x' });\n");
      const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
      const options = [
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--target',
        'es2022',
        '--types',
        'node',
        '--skipLibCheck',
      ];
      expect(run(process.execPath, [tsc, ...options, 'program.ts'])).toMatchObject({ status: 0, stdout: '' });
      const wrong = run(process.execPath, [tsc, ...options, 'wrong.ts']).stdout;
      expect(wrong).toContain("Type 'string' is not assignable to type 'number");
      // Without the compiler's indulgence for libraries: none of its complaints is about softflow's own declarations.
      const strict = run(process.execPath, [tsc, ...options.filter((each) => each !== '--skipLibCheck'), 'program.ts']);
      expect(strict.stdout.split('\n').filter((line) => line.includes('node_modules/softflow/dist'))).toEqual([]);
    });

    it('loads, and resolves its workflows and their bundle in its own folder', () => {
      const script = [
        "import * as softflow from 'softflow';",
        'const config = softflow.defineRun({ model: { source: { folder: "m" } }, data: { source: { planted: {} } } });',
        'const bundle = await softflow.workflowBundle();',
        'console.log(JSON.stringify({ seed: config.seed, path: softflow.workflowsPath, bundle, count: Object.keys(softflow).length }));',
      ];
      const { stdout, stderr } = run(process.execPath, ['--input-type=module', '-e', script.join('\n')]);
      expect(stderr).toBe('');
      expect(JSON.parse(stdout)).toMatchObject({
        seed: 42,
        path: inside('dist', 'workflows', 'index.js'),
        bundle: { codePath: inside('dist', 'workflows', 'bundle.cjs') },
      });
    });
  },
);
