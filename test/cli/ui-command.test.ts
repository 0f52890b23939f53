import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
let folder: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'softflow-ui-command-'));
});
afterEach(() => {
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

const environment = () => ({ cwd: folder, env: { PATH: process.env['PATH'], HOME: folder } });

/** Starts the command and gives what it prints first. */
async function start(...args: string[]): Promise<string> {
  child = spawn(process.execPath, [bin, 'ui', ...args], environment());
  const [first] = (await once(child.stdout!, 'data')) as [Buffer];
  return first.toString();
}

describe('softflow ui', () => {
  it('serves an empty folder without making anything in it, and ends with 0 at Ctrl-C', async () => {
    const { url } = JSON.parse(await start('--port', '0', '--json')) as { url: string };
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    expect(await (await fetch(url)).text()).toContain('No runs yet.');
    expect(await (await fetch(`${url}schedules`)).text()).toContain('No Temporal server answers');
    expect(await (await fetch(`${url}releases`)).text()).toContain('Nothing was promoted yet');
    child?.kill('SIGINT');
    expect(await once(child!, 'exit')).toEqual([0, null]);
    expect(existsSync(join(folder, '.softflow'))).toBe(false);
  });

  it('ends at once while a page follows it', async () => {
    const { url } = JSON.parse(await start('--port', '0', '--json')) as { url: string };
    const { body } = await fetch(`${url}events`);
    await body!.getReader().read();
    child?.kill('SIGTERM');
    expect(await once(child!, 'exit')).toEqual([0, null]);
  });

  it('refuses what is no port with 2, and an address that is not this machine’s with 1', () => {
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [bin, 'ui', ...args], { ...environment(), encoding: 'utf8' });
    expect(run('--port', 'http')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('error USAGE: --port http:'),
    });
    expect(run('--port', '70000').status).toBe(2);
    expect(run('--host', '192.0.2.1')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('UI_CANNOT_LISTEN'),
    });
  });
});
