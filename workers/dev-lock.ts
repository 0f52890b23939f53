import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { devPaths } from './dev-state.ts';
import { identify, isRunning, ProcessIdentitySchema } from './process-identity.ts';

/**
 * Makes this process the one supervisor of a state folder.
 *
 * @returns path of the lock, to be removed at the end; undefined when another living process has it
 */
export async function takeDevLock(stateFolder: string): Promise<string | undefined> {
  const { lock } = devPaths(stateFolder);
  await mkdir(stateFolder, { recursive: true });
  const mine = `${lock}.${randomBytes(4).toString('hex')}`;
  await writeFile(mine, JSON.stringify(identify(process.pid)));
  try {
    for (;;) {
      if (await tryLink(mine, lock)) return lock;
      if (await isHeld(lock)) return undefined;
      await setAside(lock);
    }
  } finally {
    await rm(mine, { force: true });
  }
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function isHeld(lock: string): Promise<boolean> {
  try {
    return isRunning(ProcessIdentitySchema.parse(JSON.parse(await readFile(lock, 'utf8'))));
  } catch {
    return false;
  }
}

/** Moves a dead process's lock away; one that was renewed meanwhile goes back. */
async function setAside(lock: string): Promise<void> {
  const aside = `${lock}.${randomBytes(4).toString('hex')}`;
  try {
    await rename(lock, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (await isHeld(aside)) await tryLink(aside, lock);
  await rm(aside, { force: true });
}
