import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runCli } from '../../cli/program.ts';
import { openTerminal } from '../../cli/terminal.ts';

const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const KEY = Buffer.alloc(32, 'canary').toString('base64');
let folder: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'softflow-codec-server-'));
});
afterEach(() => {
  child?.kill('SIGKILL');
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const environment = (env: Record<string, string> = {}) => ({
  cwd: folder,
  env: { PATH: process.env['PATH'], HOME: folder, KEY, SOFTFLOW_ENCRYPTION_KEYS: 'one=env:KEY', ...env },
});

/** The command in this process, which is quicker; it never gets to serve. */
async function refusalOf(args: string[], env: Record<string, string>): Promise<{ code: number; err: string }> {
  const err: string[] = [];
  const terminal = openTerminal({
    stdout: { write: () => true },
    stderr: { write: (text) => err.push(text) },
    env: {},
  });
  for (const [name, value] of Object.entries({ KEY, SOFTFLOW_ENCRYPTION_KEYS: 'one=env:KEY', ...env }))
    vi.stubEnv(name, value);
  return { code: await runCli(['codec-server', ...args], terminal), err: err.join('') };
}

describe('softflow codec-server', () => {
  it('serves until Ctrl-C, under the token of the variable that it was given', async () => {
    const args = [bin, 'codec-server', '--port', '0', '--token-env', 'CODEC_TOKEN', '--json'];
    child = spawn(process.execPath, args, environment({ CODEC_TOKEN: 'a-token' }));
    const [first] = (await once(child.stdout!, 'data')) as [Buffer];
    const { url, keys } = JSON.parse(first.toString()) as { url: string; keys: string[] };
    expect([new URL(url).hostname, keys]).toEqual(['127.0.0.1', ['one']]);
    const ask = (headers: Record<string, string>) =>
      fetch(`${url}/decode`, { method: 'POST', headers, body: '{"payloads":[]}' });
    expect((await ask({})).status).toBe(401);
    expect(await (await ask({ authorization: 'Bearer a-token' })).json()).toEqual({ payloads: [] });
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('ends with 2 and says why when it could not decode, or could be read by everybody', async () => {
    const refused = async (args: string[], message: RegExp, env: Record<string, string> = {}) => {
      const { code, err } = await refusalOf(args, env);
      expect([code, err]).toEqual([2, expect.stringMatching(message)]);
      expect(err).not.toContain(KEY);
    };
    await refused([], /SOFTFLOW_ENCRYPTION_KEYS names no key/, { SOFTFLOW_ENCRYPTION_KEYS: '' });
    await refused([], /ENCRYPTION_KEYS_INVALID.*entry 1/, { SOFTFLOW_ENCRYPTION_KEYS: KEY });
    await refused(['--host', '0.0.0.0'], /--token-env, --tls-cert and --tls-key are needed/);
    await refused(['--token-env', 'NOT_SET'], /that variable is not set/);
    await refused(['--tls-cert', 'a.pem'], /belong together/);
    await refused(['--tls-cert', 'a.pem', '--tls-key', 'a.key'], /ENOENT/);
    await refused(['--origin', '*'], /expected an origin/);
    await refused(['--port', 'x'], /--port x: expected a number/);
  });
});
