import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sha256Hex } from './canonical-json.ts';
import { currentRelease, type ReleaseMove, releaseMoves } from './releases.ts';
import type { Store } from './store.ts';

const RELEASE_FOLDER = /^[0-9a-f]{64}$/;
/** Releases whose folders stay: a server that still reads the one before must not lose its files. */
const KEPT = 3;

/** The folder beside the store in which servers of recommendations find `current`. */
export function releasesFolder(store: Store): string {
  return join(dirname(store.root), 'releases');
}

/**
 * Brings `releases/current` beside the store up to date: a link to `<release>/`, which was complete before the link moved
 * and never changes after. A view: it may be removed and made again, and it never leads; `currentRelease` does.
 *
 * @returns the folder of the current release; undefined before the first promotion
 * @throws those of the store, and of the file system
 */
export async function writeReleaseView(store: Store): Promise<string | undefined> {
  const folder = releasesFolder(store);
  for (;;) {
    const current = await currentRelease(store);
    if (!current) return undefined;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if (!(await isWhole(folder, current))) await writeFolder(store, folder, current);
    await pointTo(folder, current.release);
    // Somebody may have moved on since and been faster with the link: then it stands too low, and is set again.
    if ((await currentRelease(store))?.number === current.number) return finish(store, folder, current);
  }
}

async function finish(store: Store, folder: string, current: ReleaseMove): Promise<string> {
  const newest = new Set<string>();
  for (const { release } of (await releaseMoves(store)).reverse()) if (newest.size < KEPT) newest.add(release);
  for (const name of await readdir(folder))
    if (RELEASE_FOLDER.test(name) && !newest.has(name)) await rm(join(folder, name), { recursive: true, force: true });
  return join(folder, current.release);
}

async function isWhole(folder: string, { release, files }: ReleaseMove): Promise<boolean> {
  for (const [path, { sha256 }] of Object.entries(files)) {
    const bytes = await readFile(join(folder, release, path)).catch(() => undefined);
    if (!bytes || sha256Hex(bytes) !== sha256) return false;
  }
  return true;
}

async function writeFolder(store: Store, folder: string, { release, files }: ReleaseMove): Promise<void> {
  const temporary = join(folder, `.tmp-${randomBytes(8).toString('hex')}`);
  try {
    for (const [path, ref] of Object.entries(files))
      await writeDurably(join(temporary, path), await store.getBytes(ref));
    await rm(join(folder, release), { recursive: true, force: true });
    await rename(temporary, join(folder, release));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Somebody else has made the same folder meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'wx', 0o400);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function pointTo(folder: string, release: string): Promise<void> {
  const temporary = join(folder, `.tmp-${randomBytes(8).toString('hex')}`);
  await symlink(release, temporary);
  await rename(temporary, join(folder, 'current'));
}
