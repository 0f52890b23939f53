import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { type CacheEntry, ensureCached } from '../../setup/cache.ts';
import { freePort } from './temporal.ts';
import { until } from './until.ts';

/** Python packages that tests run our output through, each set in a folder of its own. */
export interface PythonPackages {
  packages: string[];
  entry: CacheEntry;
}

export const SINK_SERVERS: PythonPackages = {
  packages: ['mlflow==3.17.2', 'tensorboard==2.21.0'],
  entry: { name: 'test/sink-servers-2', keyFiles: ['mlflow/version.py', 'tensorboard/main.py'], needsBytes: 2e9 },
};
export const OPENLINEAGE: PythonPackages = {
  packages: ['openlineage-python==1.54.0'],
  entry: { name: 'test/openlineage-1.54.0', keyFiles: ['openlineage/client/generated/base.py'], needsBytes: 5e7 },
};

/** Folder with the packages, or why there is none. */
export async function findPackages({
  packages,
  entry,
}: PythonPackages): Promise<{ folder: string } | { missing: string }> {
  if (spawnSync('python3', ['-m', 'pip', '--version']).status !== 0) return { missing: 'no Python with pip is here' };
  const install = async (folder: string) => {
    await promisify(execFile)('python3', ['-m', 'pip', 'install', '--quiet', '--target', folder, ...packages]);
  };
  try {
    return { folder: await ensureCached(entry, install) };
  } catch (error) {
    return { missing: `pip cannot have them (${(error as Error).message.split('\n')[0]})` };
  }
}

/** Runs a Python program over the packages, and returns what it prints. */
export async function runPython(packages: string, args: string[]): Promise<string> {
  const env = { ...process.env, PYTHONPATH: packages };
  return (await promisify(execFile)('python3', args, { env, maxBuffer: 2 ** 24 })).stdout;
}

export interface PythonServer {
  url: string;
  stop(): Promise<void>;
}

/** Starts a server on a free port and waits until `path` answers. */
export async function startPython(
  packages: string,
  args: (port: number) => string[],
  { cwd, path }: { cwd: string; path: string },
): Promise<PythonServer> {
  const port = await freePort();
  const env = { ...process.env, PYTHONPATH: packages };
  // A group of its own: MLflow's workers are its children.
  const child: ChildProcess = spawn('python3', args(port), { cwd, env, stdio: 'ignore', detached: true });
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    const ended = once(child, 'exit');
    process.kill(-(child.pid as number), 'SIGKILL');
    await ended;
  };
  try {
    await until(async () => (await fetch(url + path).catch(() => undefined))?.ok === true, 120);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop };
}
