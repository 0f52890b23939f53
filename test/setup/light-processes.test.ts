import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';

beforeAll(async () => {
  const build = (await import(new URL('../../bin/build.mjs', import.meta.url).href)) as { buildIfStale(): boolean };
  build.buildIfStale();
});

// Tensor code belongs to the trainer: it costs a process most of a second and may take it down.
test.each(['workers/worker.js', 'workers/estimator.js', 'cli/commands/plan.js', 'index.js'])(
  '%s loads no tensor library',
  (file) => {
    const url = new URL(`../../dist/${file}`, import.meta.url);
    const script = `import Module from 'node:module';
    await import(${JSON.stringify(url.href)});
    console.log(JSON.stringify(Object.keys(Module._cache).filter((path) => path.includes('/@tensorflow/'))));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
    });
    expect(JSON.parse(stdout.trim().split('\n').at(-1) || 'null'), stderr).toEqual([]);
  },
);
