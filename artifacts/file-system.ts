import { constants, createReadStream } from 'node:fs';
import { link, lstat, mkdir, open, readdir, realpath, rename, unlink, utimes } from 'node:fs/promises';

export interface FileStat {
  kind: 'file' | 'directory' | 'link' | 'other';
  /** Bytes. */
  size: number;
  mtimeMs: number;
  /** Changes whenever the content may have changed: inode, size and change time. */
  identity: string;
}

export interface WritableFile {
  write(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The file operations that the store uses, and no others, so that tests can put a failing, dying or forgetful disk
 * in their place. Errors carry Node's `code` (`EEXIST`, `ENOSPC`, ...).
 */
export interface FileSystem {
  /** Opens a new file for writing (`wx`): `EEXIST` if the name is taken, symbolic links included. */
  createFile(path: string, mode: number): Promise<WritableFile>;
  /** The whole content of a regular file; a symbolic link is `ELOOP`. */
  readFile(path: string): Promise<Uint8Array>;
  /** The content in pieces; a symbolic link is `ELOOP`. */
  readChunks(path: string): AsyncIterable<Uint8Array>;
  link(existing: string, path: string): Promise<void>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  mkdir(path: string, mode: number): Promise<void>;
  readdir(path: string): Promise<string[]>;
  /** Describes the name itself: symbolic links are not followed. */
  stat(path: string): Promise<FileStat>;
  realpath(path: string): Promise<string>;
  /** Makes names created in or removed from a folder durable. */
  syncDirectory(path: string): Promise<void>;
  /** Sets the modification time to now. */
  touch(path: string): Promise<void>;
}

/** The `code` of a Node file error, or '' for anything else. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

const READ_ONLY_NO_FOLLOW = constants.O_RDONLY | constants.O_NOFOLLOW;

async function createFile(path: string, mode: number): Promise<WritableFile> {
  const handle = await open(path, 'wx', mode);
  return {
    write: (bytes) => handle.writeFile(bytes),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

async function readFile(path: string): Promise<Uint8Array> {
  const handle = await open(path, READ_ONLY_NO_FOLLOW);
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

async function* readChunks(path: string): AsyncIterable<Uint8Array> {
  const handle = await open(path, READ_ONLY_NO_FOLLOW);
  yield* createReadStream('', { fd: handle, highWaterMark: 1 << 20 });
}

async function stat(path: string): Promise<FileStat> {
  const found = await lstat(path);
  const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : found.isSymbolicLink() ? 'link' : 'other';
  const identity = `${found.dev}:${found.ino}:${found.size}:${found.ctimeMs}`;
  return { kind, size: found.size, mtimeMs: found.mtimeMs, identity };
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The machine's own files. */
export const nodeFileSystem: FileSystem = {
  createFile,
  readFile,
  readChunks,
  link,
  unlink,
  rename,
  mkdir: async (path, mode) => {
    await mkdir(path, { mode });
  },
  readdir: (path) => readdir(path),
  stat,
  realpath: (path) => realpath(path),
  syncDirectory,
  touch: (path) => {
    const now = new Date();
    return utimes(path, now, now);
  },
};
