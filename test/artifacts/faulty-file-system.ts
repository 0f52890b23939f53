import type { FileSystem, WritableFile } from '../../artifacts/file-system.ts';

export interface Operation {
  /** Counted from 1. */
  index: number;
  name: keyof FileSystem | 'write' | 'sync' | 'close';
  path: string;
}

/** What happens around one operation; whatever it throws is the operation's error. */
export type Around = (
  operation: Operation,
  run: (bytes?: Uint8Array) => Promise<unknown>,
  bytes?: Uint8Array,
) => Promise<unknown>;

/** A file system every operation of which passes through `around`. */
export function intercept(fs: FileSystem, around: Around): FileSystem {
  let count = 0;
  const step = async <T>(name: Operation['name'], path: string, run: () => Promise<T>): Promise<T> =>
    (await around({ index: ++count, name, path }, run)) as T;

  const wrapFile = (path: string, file: WritableFile): WritableFile => ({
    write: async (bytes) => {
      await around({ index: ++count, name: 'write', path }, (part) => file.write(part ?? bytes), bytes);
    },
    sync: () => step('sync', path, () => file.sync()),
    close: () => step('close', path, () => file.close()),
  });

  return {
    createFile: async (path, mode) => wrapFile(path, await step('createFile', path, () => fs.createFile(path, mode))),
    readFile: (path) => step('readFile', path, () => fs.readFile(path)),
    readChunks: async function* (path) {
      await step('readChunks', path, async () => undefined);
      yield* fs.readChunks(path);
    },
    link: (from, path) => step('link', path, () => fs.link(from, path)),
    unlink: (path) => step('unlink', path, () => fs.unlink(path)),
    rename: (from, path) => step('rename', path, () => fs.rename(from, path)),
    mkdir: (path, mode) => step('mkdir', path, () => fs.mkdir(path, mode)),
    readdir: (path) => step('readdir', path, () => fs.readdir(path)),
    stat: (path) => step('stat', path, () => fs.stat(path)),
    realpath: (path) => step('realpath', path, () => fs.realpath(path)),
    syncDirectory: (path) => step('syncDirectory', path, () => fs.syncDirectory(path)),
    touch: (path) => step('touch', path, () => fs.touch(path)),
  };
}

const CHANGES = ['createFile', 'write', 'sync', 'close', 'link', 'unlink', 'rename', 'mkdir', 'syncDirectory', 'touch'];

/** Whether an operation writes. */
export function changesDisk({ name }: Operation): boolean {
  return CHANGES.includes(name);
}

/** Thrown by every operation of a process that is dead. */
export class Dead extends Error {}

export type CrashMoment = 'before' | 'half' | 'after';

/** A process that dies at its `k`-th writing operation: before it, half-way into it (a write), or after it. */
export function dieAt(fs: FileSystem, k: number, moment: CrashMoment): FileSystem {
  let writes = 0;
  let dead = false;
  return intercept(fs, async (operation, run, bytes) => {
    if (dead) throw new Dead();
    if (!changesDisk(operation) || ++writes !== k) return run();
    dead = true;
    if (moment === 'half' && bytes) await run(bytes.subarray(0, bytes.length >> 1));
    if (moment === 'after') await run();
    throw new Dead();
  });
}
