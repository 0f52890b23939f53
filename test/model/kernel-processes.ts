import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ensureTensorflow } from '../../setup/tensorflow.ts';

const run = promisify(execFile);
const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** Name of the kernels and digest of each one's outputs, computed by another process with these variables. */
export async function kernelDigests(
  variables: Record<string, string>,
): Promise<{ kernels: string; digests: Record<string, string> }> {
  const { addonPath } = await ensureTensorflow();
  const env = { ...process.env, NODE_OPTIONS: '', ...variables };
  const child = ['--import', path('../support/ts-loader.mjs'), path('./kernel-digests.ts'), addonPath];
  return JSON.parse((await run(process.execPath, child, { env })).stdout);
}

/** Runs whole test files in another process with these variables; vitest's report as JSON. */
export async function runTests(files: string[], filter: string, variables: Record<string, string>): Promise<string> {
  const vitest = path('../../node_modules/vitest/vitest.mjs');
  const args = [vitest, 'run', '--reporter=json', '-t', filter, ...files.map((file) => path(file))];
  const { stdout } = await run(process.execPath, args, {
    cwd: path('../..'),
    env: { ...process.env, NODE_OPTIONS: '', ...variables },
    maxBuffer: 64 << 20,
  }).catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? String(error) }));
  return stdout;
}
