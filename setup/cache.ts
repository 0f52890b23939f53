import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { homedir, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { SoftflowError } from '../errors.ts';

const MARKER = 'softflow-entry.json';
const STALE_MS = 24 * 3600 * 1000;

/** Two callers in one process share one download. */
const fillsOfThisProcess = new Map<string, Promise<string>>();

/** One folder of the cache. */
export interface CacheEntry {
  /** Path inside the cache, with the version in it: `tensorflow/cpu-2.21.0`. An entry never changes once it is there. */
  name: string;
  /** Files whose presence and size are checked on every start, relative to the entry. */
  keyFiles: string[];
  /** Free space the entry needs while it is made, in bytes. */
  needsBytes?: number;
}

/**
 * Folder of everything that set-up fetches: `SOFTFLOW_CACHE`, or `softflow` in the user's cache folder. Copying it to a
 * machine without a network is all that such a machine needs.
 */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  if (env['SOFTFLOW_CACHE']) return env['SOFTFLOW_CACHE'];
  if (env['XDG_CACHE_HOME']) return join(env['XDG_CACHE_HOME'], 'softflow');
  const home = env['HOME'] || homedir();
  return platform() === 'darwin' ? join(home, 'Library', 'Caches', 'softflow') : join(home, '.cache', 'softflow');
}

/** The entry's folder when it is whole, else undefined. Reads sizes only, so it is immediate for any number of bytes. */
export async function findCached(entry: CacheEntry): Promise<string | undefined> {
  const folder = join(cacheRoot(), entry.name);
  const marker = await readMarker(folder);
  if (!marker) return undefined;
  for (const file of entry.keyFiles) {
    const found = await stat(join(folder, file)).catch(() => undefined);
    if (!found || found.size !== marker.files[file]) return undefined;
  }
  return folder;
}

/**
 * The entry's folder, made by `fill` when it is not there. `fill` writes into a temporary folder that is renamed once it
 * is complete, so that a kill leaves nothing half-made and two processes may fill the same entry: the first one wins.
 *
 * @throws SoftflowError `NO_SPACE`, `CACHE_NOT_WRITABLE`, and what `fill` throws
 */
export async function ensureCached(entry: CacheEntry, fill: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cacheRoot(), entry.name);
  const running = fillsOfThisProcess.get(folder);
  if (running) return running;
  const result = findOrFill(entry, folder, fill).finally(() => fillsOfThisProcess.delete(folder));
  fillsOfThisProcess.set(folder, result);
  return result;
}

async function findOrFill(entry: CacheEntry, folder: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const found = await findCached(entry);
  if (found) return found;
  const temporary = await makeTemporaryFolder(entry);
  try {
    await fill(temporary);
    await writeMarker(temporary, entry);
    await place(temporary, folder, entry);
    return folder;
  } catch (error) {
    throw diskError(error, cacheRoot());
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function makeTemporaryFolder(entry: CacheEntry): Promise<string> {
  const parent = join(cacheRoot(), 'tmp');
  const temporary = join(parent, `${entry.name.replaceAll('/', '-')}-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    await mkdir(temporary, { recursive: true });
    await removeStale(parent);
    await requireSpace(parent, entry);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw diskError(error, cacheRoot());
  }
  return temporary;
}

/** Removes what killed processes left behind, long after any of them could still be at work. */
async function removeStale(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const path = join(parent, name);
    const found = await stat(path).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > STALE_MS) await rm(path, { recursive: true, force: true });
  }
}

async function requireSpace(folder: string, entry: CacheEntry): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = bavail * bsize;
  if (!entry.needsBytes || freeBytes >= entry.needsBytes) return;
  throw new SoftflowError(
    'NO_SPACE',
    `Not enough disk space for ${entry.name} in ${cacheRoot()}: expected ${megabytes(entry.needsBytes)} free, ` +
      `found ${megabytes(freeBytes)}. Free some space, or point SOFTFLOW_CACHE at a folder on a larger disk.`,
    { details: { folder: cacheRoot(), expectedBytes: entry.needsBytes, freeBytes } },
  );
}

async function writeMarker(folder: string, entry: CacheEntry): Promise<void> {
  const files: Record<string, number> = {};
  for (const file of entry.keyFiles) files[file] = (await stat(join(folder, file))).size;
  await writeFile(join(folder, MARKER), `${JSON.stringify({ name: entry.name, files }, null, 2)}\n`);
}

async function readMarker(folder: string): Promise<{ files: Record<string, number> } | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, MARKER), 'utf8')) as { files: Record<string, number> };
  } catch {
    return undefined;
  }
}

async function place(temporary: string, folder: string, entry: CacheEntry): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  for (let attempt = 0; ; attempt++) {
    try {
      await rename(temporary, folder);
      return;
    } catch (error) {
      if (!isCode(error, 'ENOTEMPTY', 'EEXIST') || attempt === 3) throw error;
      if (await findCached(entry)) return;
      await moveDamagedAside(folder);
    }
  }
}

async function moveDamagedAside(folder: string): Promise<void> {
  const aside = join(cacheRoot(), 'tmp', `damaged-${randomBytes(6).toString('hex')}`);
  await rename(folder, aside).catch((error: unknown) => {
    if (!isCode(error, 'ENOENT')) throw error;
  });
  await rm(aside, { recursive: true, force: true });
}

function diskError(error: unknown, folder: string): unknown {
  if (isCode(error, 'ENOSPC', 'EDQUOT')) {
    return new SoftflowError(
      'NO_SPACE',
      `The disk of ${folder} is full. Free some space, or point SOFTFLOW_CACHE at a folder on a larger disk.`,
      { details: { folder }, cause: error },
    );
  }
  if (isCode(error, 'EACCES', 'EROFS', 'EPERM', 'ENOTDIR')) {
    return new SoftflowError(
      'CACHE_NOT_WRITABLE',
      `Cannot write the cache folder ${folder} (${(error as Error).message}). Point SOFTFLOW_CACHE at a folder you may write.`,
      { details: { folder }, cause: error },
    );
  }
  return error;
}

function isCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException | undefined)?.code ?? '');
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
