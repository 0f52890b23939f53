import { createHash, randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { errorCode, type FileStat, type FileSystem, type WritableFile } from './file-system.ts';
import { Recent } from './recent.ts';
import { guarded, guardedUnless } from './store-errors.ts';

/** Unfinished files begin with this; no name of the store does. */
export const TEMPORARY_PREFIX = '.tmp-';

const FILE_MODE = 0o400;
const DIRECTORY_MODE = 0o700;
const NOT_A_FILE = ['ENOENT', 'ELOOP', 'EISDIR'];
const WRITE_SIZE = 1 << 20;

export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** A complete, synced file that has no final name yet. */
export interface TemporaryFile {
  path: string;
  sha256: string;
  bytes: number;
}

/** Cuts bytes into pieces small enough not to block the process while they are hashed. */
export function* slices(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let start = 0; start < bytes.length; start += WRITE_SIZE) yield bytes.subarray(start, start + WRITE_SIZE);
}

/**
 * The store's folder on disk and the one way in which files enter it: write a temporary file, sync it, link it to its
 * final name (which fails if the name is taken), sync the folder. Paths are relative to the root and made of names
 * that were checked before; folders that are symbolic links are refused.
 */
export class StoreFolder {
  readonly root: string;
  readonly fs: FileSystem;
  /** Folders that were made durable here, and those that were found to be real ones: nothing of the store removes a folder. */
  readonly #durable = new Recent<true>();
  readonly #real = new Recent<true>();

  constructor(root: string, fs: FileSystem) {
    this.root = root;
    this.fs = fs;
  }

  path(relative: string): string {
    return join(this.root, relative);
  }

  /** Makes a folder and all above it, durably. */
  async ensureDirectory(relative: string): Promise<void> {
    for (const part of prefixes(relative)) {
      if (!(await this.#isDirectory(part))) await this.#makeDirectory(part);
      if (this.#durable.get(part)) continue;
      // Also when somebody else made it: they may die before they sync it, and our files with it.
      await this.syncDirectory(dirname(part));
      this.#durable.set(part, true);
    }
  }

  /** Names in a folder without unfinished files; none if there is no such folder. */
  async list(relative: string): Promise<string[]> {
    return (await this.listAll(relative)).filter((name) => !name.startsWith(TEMPORARY_PREFIX));
  }

  async listAll(relative: string): Promise<string[]> {
    if (!(await this.#hasRealParents(join(relative, 'name')))) return [];
    const path = this.path(relative);
    const names = await guardedUnless(['ENOENT'], 'list', path, () => this.fs.readdir(path));
    return (names ?? []).sort();
  }

  /** Describes a name; undefined if it is free. */
  async stat(relative: string): Promise<FileStat | undefined> {
    return (await this.#hasRealParents(relative)) ? this.#statName(relative) : undefined;
  }

  /** The content of a small file; undefined if there is none or it is not a regular file. */
  async read(relative: string): Promise<Uint8Array | undefined> {
    if (!(await this.#hasRealParents(relative))) return undefined;
    const path = this.path(relative);
    return guardedUnless(NOT_A_FILE, 'read', path, () => this.fs.readFile(path));
  }

  /**
   * Writes a file under a name that must be free, durably.
   *
   * @returns false if the name was taken; the file that has it stays as it is, and its name is made durable.
   */
  async create(relative: string, bytes: Uint8Array): Promise<boolean> {
    const temporary = await this.writeTemporary(dirname(relative), () => slices(bytes), bytes.length);
    try {
      const created = await this.link(temporary.path, relative);
      await this.syncDirectory(dirname(relative));
      return created;
    } finally {
      await this.discard(temporary.path);
    }
  }

  /**
   * Writes, hashes and syncs a temporary file beside its later name.
   *
   * @param source gives the content, again from the start when called again
   */
  async writeTemporary(directory: string, source: () => Chunks, bytesNeeded: number): Promise<TemporaryFile> {
    await this.ensureDirectory(directory);
    const first = await this.#writeOnce(directory, source, bytesNeeded);
    if (first) return first;
    // After a failed sync the kernel may have dropped the pages and call the next sync a success, so a new file.
    const second = await this.#writeOnce(directory, source, bytesNeeded);
    if (second) return second;
    const path = this.path(directory);
    const message = `Could not make a file in ${path} durable (${bytesNeeded} bytes needed): EIO. Check the disk.`;
    throw new SoftflowError('STORE_IO', message, { retryable: true, details: { path, bytesNeeded, errno: 'EIO' } });
  }

  /** Gives a temporary file its name; false if the name is taken. */
  async link(temporary: string, relative: string): Promise<boolean> {
    const path = this.path(relative);
    const linked = await guardedUnless(['EEXIST'], 'create', path, async () => {
      await this.fs.link(temporary, path);
      return true;
    });
    return linked ?? false;
  }

  /** Gives a file of the store a second name; false if that is taken or the file is gone. */
  async linkFrom(existing: string, relative: string): Promise<boolean> {
    const path = this.path(relative);
    const linked = await guardedUnless(['EEXIST', 'ENOENT'], 'create', path, async () => {
      await this.fs.link(this.path(existing), path);
      return true;
    });
    return linked ?? false;
  }

  async syncDirectory(relative: string): Promise<void> {
    const path = this.path(relative);
    await guarded('sync', path, () => this.fs.syncDirectory(path));
  }

  /** Removes a name; not an error if it is gone already. */
  async remove(relative: string): Promise<void> {
    const path = this.path(relative);
    await guardedUnless(['ENOENT'], 'remove', path, () => this.fs.unlink(path));
  }

  /** Sets a file's modification time to now; not an error if it is gone. */
  async touch(relative: string): Promise<void> {
    const path = this.path(relative);
    await guardedUnless(['ENOENT'], 'touch', path, () => this.fs.touch(path));
  }

  /** Removes a temporary file; if that fails it is left to garbage collection, for nothing refers to it. */
  async discard(path: string): Promise<void> {
    await this.fs.unlink(path).catch(() => undefined);
  }

  /** SHA-256 and size of a file; undefined if there is none or it is not a regular file. */
  async hash(relative: string): Promise<{ sha256: string; bytes: number } | undefined> {
    if (!(await this.#hasRealParents(relative))) return undefined;
    const path = this.path(relative);
    return guardedUnless(NOT_A_FILE, 'read', path, async () => {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of this.fs.readChunks(path)) {
        hash.update(chunk);
        bytes += chunk.length;
      }
      return { sha256: hash.digest('hex'), bytes };
    });
  }

  async #writeOnce(directory: string, source: () => Chunks, bytesNeeded: number): Promise<TemporaryFile | undefined> {
    const path = join(this.path(directory), temporaryName());
    const file = await guarded('create', path, () => this.fs.createFile(path, FILE_MODE), bytesNeeded);
    try {
      const written = await guarded('write', path, () => writeAndHash(file, source()), bytesNeeded);
      const synced = await this.#syncFile(file, path, bytesNeeded);
      await guarded('close', path, () => file.close(), bytesNeeded);
      if (synced) return { path, ...written };
    } catch (error) {
      await file.close().catch(() => undefined);
      await this.discard(path);
      throw error;
    }
    await this.discard(path);
    return undefined;
  }

  async #syncFile(file: WritableFile, path: string, bytesNeeded: number): Promise<boolean> {
    const sync = async (): Promise<boolean> => {
      try {
        await file.sync();
        return true;
      } catch (error) {
        if (errorCode(error) === 'EIO') return false;
        throw error;
      }
    };
    return guarded('sync', path, sync, bytesNeeded);
  }

  /** Whether all folders above a name exist, as real folders. */
  async #hasRealParents(relative: string): Promise<boolean> {
    for (const part of prefixes(dirname(relative))) if (!(await this.#isDirectory(part))) return false;
    return true;
  }

  async #statName(relative: string): Promise<FileStat | undefined> {
    const path = this.path(relative);
    return guardedUnless(['ENOENT'], 'look at', path, () => this.fs.stat(path));
  }

  async #isDirectory(relative: string): Promise<boolean> {
    if (this.#real.get(relative)) return true;
    const found = await this.#statName(relative);
    if (found === undefined) return false;
    if (found.kind === 'directory') {
      this.#real.set(relative, true);
      return true;
    }
    const path = this.path(relative);
    throw new SoftflowError(
      'STORE_DAMAGED',
      `${path}: expected a folder of the store, found a ${found.kind}. The store follows no links; remove it.`,
      { details: { path, expected: 'directory', found: found.kind } },
    );
  }

  async #makeDirectory(relative: string): Promise<void> {
    const path = this.path(relative);
    await guardedUnless(['EEXIST'], 'create folder', path, () => this.fs.mkdir(path, DIRECTORY_MODE));
  }
}

async function writeAndHash(file: WritableFile, chunks: Chunks): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    await file.write(chunk);
    bytes += chunk.length;
  }
  return { sha256: hash.digest('hex'), bytes };
}

export function temporaryName(): string {
  return TEMPORARY_PREFIX + randomBytes(8).toString('hex');
}

/** `a/b/c` -> `a`, `a/b`, `a/b/c`; the root itself has none. */
function prefixes(relative: string): string[] {
  if (relative === '.' || relative === '') return [];
  const parts = relative.split('/');
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
