import { chmod, mkdir, mkdtemp, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SoftflowError } from '../errors.ts';

/**
 * Lets `fill` write into a folder that appears whole or not at all.
 *
 * @param path does not exist yet, or is empty
 * @returns names of the files written, sorted, and what `fill` returns
 * @throws SoftflowError `USAGE`, `OUTPUT_NOT_WRITTEN`, and those of `fill`
 */
export async function writeWholeFolder<T>(
  path: string,
  fill: (folder: string) => Promise<T>,
): Promise<{ files: string[]; filled: T }> {
  const folder = resolve(path);
  await requireFree(folder);
  const temporary = await createBeside(folder);
  try {
    const filled = await fill(temporary);
    const files = (await readdir(temporary)).sort();
    await chmod(temporary, 0o755);
    await put(temporary, folder);
    return { files, filled };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** @throws SoftflowError `USAGE` where a folder holds something already */
export async function requireFree(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw notWritten(folder, error);
  });
  if (names.length > 0)
    throw new SoftflowError(
      'USAGE',
      `Expected a new or empty folder to write to, found ${names.length} files in ${folder}.`,
    );
}

/** Beside the target, so that it can be moved there in one step. */
async function createBeside(folder: string): Promise<string> {
  try {
    await mkdir(dirname(folder), { recursive: true });
    return await mkdtemp(join(dirname(folder), '.softflow-export-'));
  } catch (error) {
    throw notWritten(folder, error as Error);
  }
}

async function put(from: string, to: string): Promise<void> {
  try {
    await rmdir(to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rename(from, to);
  } catch (error) {
    throw notWritten(to, error as Error);
  }
}

function notWritten(folder: string, cause: Error): SoftflowError {
  return new SoftflowError('OUTPUT_NOT_WRITTEN', `${folder} cannot be written: ${cause.message}`, { cause });
}
