import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/softflow.mjs', import.meta.url));
const recipe = fileURLToPath(new URL('../../recipes/planted.yaml', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'softflow-start-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('Ctrl-C before a run has started says that nothing goes on', async () => {
  // A server that takes the connection and never answers.
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const env = { ...process.env, TEMPORAL_ADDRESS: `127.0.0.1:${(server.address() as AddressInfo).port}` };
  const child = spawn(process.execPath, [bin, 'run', recipe], { cwd: folder, env });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  await once(server, 'connection');
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  server.close();
  expect(code).toBe(130);
  expect(stderr).toContain('Interrupted before anything was started; nothing goes on.');
});
