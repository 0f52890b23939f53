import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { type CacheEntry, ensureCached, findCached } from './cache.ts';
import { fetchNpmPackage } from './npm-package.ts';
import type { OnProgress } from './progress.ts';
import { hasNvidiaGpu } from './tensorflow.ts';

const PACKAGE = {
  name: 'webgpu',
  version: '0.6.2',
  integrity: 'sha512-3L4GfmqJLvYUIEWJngEQY+2HQiUlAFkg8+P8NDDj3Xx5hHHIFO/r8JW+ynfqBj7kHN4mbnwO74uB+lrRtLhp4Q==',
};
const PACKAGE_BYTES = 51_264_151;
const ADDON = 'dawn.node';
/** Platforms that the package has an addon for, by Node's names, and the folder it lies in. */
const FOLDERS: Record<string, string> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-x64': 'darwin-universal',
  'darwin-arm64': 'darwin-universal',
};

/** Dawn, which is WebGPU outside of a browser, as an addon for Node.js. */
export interface DawnSetup {
  path: string;
  version: string;
}

/**
 * Dawn's addon, fetched on first use. The package holds those of all platforms; only this machine's is kept.
 * @throws SoftflowError `SETUP_UNSUPPORTED_PLATFORM` and those of the download
 */
export async function ensureDawn(options: { onProgress?: OnProgress } = {}): Promise<DawnSetup> {
  const onProgress = options.onProgress ?? (() => {});
  const host = `${process.platform}-${process.arch}`;
  const folder = FOLDERS[host];
  if (folder === undefined)
    throw new SoftflowError(
      'SETUP_UNSUPPORTED_PLATFORM',
      `No WebGPU is known for ${host}: expected one of ${Object.keys(FOLDERS).join(', ')}. Choose another backend.`,
      { details: { expected: Object.keys(FOLDERS), received: host } },
    );
  const cached = await ensureCached(dawnEntry(), async (target) => {
    onProgress({ item: 'dawn', phase: 'download', totalBytes: PACKAGE_BYTES });
    const files = await fetchNpmPackage(PACKAGE, target);
    await writeFile(join(target, ADDON), files.get(`package/dist/${folder}/${ADDON}`) as Buffer, { mode: 0o755 });
  });
  onProgress({ item: 'dawn', phase: 'ready', message: `Dawn ${PACKAGE.version}` });
  return { path: join(cached, ADDON), version: PACKAGE.version };
}

/** The same when it is in the cache already, else undefined. */
export async function findDawn(): Promise<DawnSetup | undefined> {
  const cached = await findCached(dawnEntry());
  return cached === undefined ? undefined : { path: join(cached, ADDON), version: PACKAGE.version };
}

function dawnEntry(): CacheEntry {
  return {
    name: `dawn/${PACKAGE.version}-${process.platform}-${process.arch}`,
    keyFiles: [ADDON],
    needsBytes: 500_000_000,
  };
}

/** Whether this machine may have a GPU, so that it is worth fetching Dawn to look for one. */
export function mayHaveGpu(): boolean {
  if (process.platform !== 'linux') return true;
  const cards = existsSync('/dev/dri') ? readdirSync('/dev/dri') : [];
  return hasNvidiaGpu() || cards.some((name) => name.startsWith('renderD'));
}
