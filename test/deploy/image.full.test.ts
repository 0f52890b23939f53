import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunLook } from '../../client/runs.ts';
import { cacheRoot } from '../../setup/cache.ts';
import { freePort } from '../support/postgres.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { tinyRun } from '../support/tiny-run.ts';
import { until } from '../support/until.ts';
import { Builder, commandLine, debianWithNode, inRoot, type Root, rootMissing } from './container-root.ts';
import { containerfile } from './deploy-files.ts';

const missing = rootMissing();
const MINUTES = 60_000;

describe.skipIf(missing !== undefined)(`the image${missing ? ` (skipped, ${missing})` : ''}`, () => {
  let work: string;
  let image: Root;
  let server: TestServer;

  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'softflow-image-'));
    server = await startTestServer();
    const base = await debianWithNode(work);
    const builder = new Builder(work, base, { TENSORFLOW: 'cpu', MODEL: 'none' });
    image = await builder.build(containerfile(), fillBuildCache);
  }, 40 * MINUTES);
  afterAll(async () => {
    await server?.stop();
    if (work) await rm(work, { recursive: true, force: true });
  }, 5 * MINUTES);

  /** The library is not fetched twice; the addon is compiled anew. */
  function fillBuildCache(folder: string): void {
    const library = join(cacheRoot(), 'tensorflow');
    if (!folder.endsWith('/build') || !existsSync(library)) return;
    mkdirSync(join(folder, 'image/cache'), { recursive: true });
    cpSync(library, join(folder, 'image/cache/tensorflow'), { recursive: true, verbatimSymlinks: true });
  }

  /** A folder that the image's user may write, as its volume. */
  async function volume(name: string): Promise<string> {
    const folder = join(work, name);
    mkdirSync(folder);
    const [uid, gid] = image.user.split(':').map(Number) as [number, number];
    await chown(folder, uid, gid);
    return folder;
  }

  test('runs as nobody in particular, without compilers, and can write nothing but its volume and /tmp', async () => {
    const mounts = { readOnly: true, volume: await volume('shell') };
    const said = await inRoot(
      image,
      [
        '/bin/sh',
        '-c',
        'id -u; for p in gcc g++ cc make python3 pip; do command -v $p && echo found; done; ' +
          'touch /opt/softflow/x /etc/x 2>/dev/null && echo wrote; touch /tmp/x /softflow/x && echo fine; softflow --version',
      ],
      mounts,
    );
    expect(said.trim().split('\n')).toEqual(['10001', 'fine', expect.stringMatching(/^\d+\.\d+\.\d+$/)]);
  });

  test(
    'serves all queues by its default command, computes with TensorFlow, and ends with 0 at SIGTERM',
    async () => {
      const folder = await volume('volume');
      const mounts = { readOnly: true, volume: folder };
      const config = await tinyRun(folder);
      const recipe = { ...config, model: { source: { folder: '/softflow/tiny-model' } } };
      await writeFile(join(folder, 'tiny.yaml'), JSON.stringify(recipe));
      const env = { ...image.env, TEMPORAL_ADDRESS: server.target.address };
      const root = { ...image, env };
      const port = await freePort();
      const args = image.command.map((arg) => (arg === '8080' ? String(port) : arg === '0.0.0.0' ? '127.0.0.1' : arg));
      const [program = '', ...line] = commandLine(root, [...image.entrypoint, ...args], mounts);
      const log = join(work, 'worker.log');
      const worker = spawn(program, line, { stdio: ['ignore', openSync(log, 'a'), openSync(log, 'a')] });
      const softflow = (...command: string[]) => inRoot(root, [...image.entrypoint, ...command], mounts);
      try {
        const ready = () =>
          fetch(`http://127.0.0.1:${port}/readyz`).then(
            ({ ok }) => ok,
            () => false,
          );
        await until(async () => worker.exitCode !== null || (await ready()), 120);
        expect([worker.exitCode, worker.exitCode === null ? '' : readFileSync(log, 'utf8')]).toEqual([null, '']);
        const started = await softflow('run', 'tiny.yaml', '--detach', '--json');
        const runId = /"runId":"([^"]+)"/.exec(started)?.[1] as string;
        const look = async () => JSON.parse(await softflow('status', runId, '--json')) as RunLook;
        await until(async () => ['completed', 'failed'].includes((await look()).status.phase), 900);
        expect((await look()).status).toMatchObject({ phase: 'completed' });
        expect(readFileSync(log, 'utf8')).not.toContain('wasm backend');
      } finally {
        worker.kill('SIGTERM');
      }
      expect(await once(worker, 'exit')).toEqual([0, null]);
    },
    30 * MINUTES,
  );
});
