import type { FileStat, FileSystem, WritableFile } from '../../artifacts/file-system.ts';

interface FileNode {
  kind: 'file';
  id: number;
  data: Buffer;
  /** What a power cut cannot take. */
  durable: Buffer;
  mtimeMs: number;
}

interface DirectoryNode {
  kind: 'directory';
  id: number;
  entries: Map<string, Node>;
  /** Entries as of the last sync, and what has happened to them since; a power cut takes any of that, in any order. */
  durable: Map<string, Node>;
  pending: EntryChange[];
  mtimeMs: number;
}

type Node = FileNode | DirectoryNode;
type EntryChange = { name: string; node: Node | undefined; alsoRemove?: string };

/** What a power cut does to one file's unsynced bytes. */
type Tear = (data: Buffer, durable: Buffer) => Buffer;

/**
 * A disk in memory that keeps apart what was written and what was made durable. `afterPowerCut` makes the disk that
 * the next boot may find: unsynced bytes lost or torn, unsynced names there or not, each by itself.
 */
export class MemoryDisk implements FileSystem {
  now: () => number = Date.now;
  #nextId = 1;
  readonly #root: DirectoryNode = this.#directory();

  /** One of the disks that may be found after a power cut now; `random(n)` decides, 0 loses everything it may. */
  afterPowerCut(random: (limit: number) => number): MemoryDisk {
    const disk = new MemoryDisk();
    const copies = new Map<Node, Node>();
    disk.#root.entries = survivors(this.#root, random, copies, disk);
    disk.#root.durable = new Map(disk.#root.entries);
    return disk;
  }

  async createFile(path: string, _mode: number): Promise<WritableFile> {
    const { directory, name } = this.#parent(path);
    if (directory.entries.has(name)) throw fault('EEXIST', path);
    const empty = Buffer.alloc(0);
    const file: FileNode = { kind: 'file', id: this.#nextId++, data: empty, durable: empty, mtimeMs: this.now() };
    change(directory, { name, node: file });
    return {
      write: async (bytes) => {
        file.data = Buffer.concat([file.data, bytes]);
      },
      sync: async () => {
        file.durable = file.data;
      },
      close: async () => {},
    };
  }

  async readFile(path: string): Promise<Uint8Array> {
    const node = this.#node(path);
    if (node.kind !== 'file') throw fault('EISDIR', path);
    return Buffer.from(node.data);
  }

  async *readChunks(path: string): AsyncIterable<Uint8Array> {
    yield await this.readFile(path);
  }

  async link(existing: string, path: string): Promise<void> {
    const node = this.#node(existing);
    const { directory, name } = this.#parent(path);
    if (directory.entries.has(name)) throw fault('EEXIST', path);
    change(directory, { name, node });
  }

  async unlink(path: string): Promise<void> {
    const { directory, name } = this.#parent(path);
    if (!directory.entries.has(name)) throw fault('ENOENT', path);
    change(directory, { name, node: undefined });
  }

  async rename(from: string, to: string): Promise<void> {
    const source = this.#parent(from);
    const target = this.#parent(to);
    if (source.directory !== target.directory) throw fault('EXDEV', to);
    const node = this.#node(from);
    change(target.directory, { name: target.name, node, alsoRemove: source.name });
  }

  async mkdir(path: string, _mode: number): Promise<void> {
    const { directory, name } = this.#parent(path);
    if (directory.entries.has(name)) throw fault('EEXIST', path);
    change(directory, { name, node: this.#directory() });
  }

  async readdir(path: string): Promise<string[]> {
    return [...this.#directoryAt(path).entries.keys()];
  }

  async stat(path: string): Promise<FileStat> {
    const { kind, id, mtimeMs, ...node } = this.#node(path);
    const size = 'data' in node ? node.data.length : 0;
    return { kind, size, mtimeMs, identity: `${id}:${size}:${mtimeMs}` };
  }

  async realpath(path: string): Promise<string> {
    this.#node(path);
    return path;
  }

  async syncDirectory(path: string): Promise<void> {
    const directory = this.#directoryAt(path);
    directory.durable = new Map(directory.entries);
    directory.pending = [];
  }

  async touch(path: string): Promise<void> {
    this.#node(path).mtimeMs = this.now();
  }

  /** Puts other bytes under a name, as bit rot or a stranger would. */
  overwrite(path: string, bytes: Uint8Array): void {
    const node = this.#node(path);
    if (node.kind !== 'file') throw fault('EISDIR', path);
    const data = Buffer.from(bytes);
    const { directory, name } = this.#parent(path);
    // A file of its own, so that what was remembered of the old one is seen to be out of date.
    const file: FileNode = { kind: 'file', id: this.#nextId++, data, durable: data, mtimeMs: this.now() };
    directory.entries.set(name, file);
  }

  #directory(): DirectoryNode {
    const empty = { entries: new Map<string, Node>(), durable: new Map<string, Node>(), pending: [] };
    return { kind: 'directory', id: this.#nextId++, ...empty, mtimeMs: this.now() };
  }

  #node(path: string): Node {
    let node: Node = this.#root;
    for (const part of path.split('/').filter((name) => name !== '' && name !== '.')) {
      if (node.kind !== 'directory') throw fault('ENOTDIR', path);
      const next = node.entries.get(part);
      if (next === undefined) throw fault('ENOENT', path);
      node = next;
    }
    return node;
  }

  #directoryAt(path: string): DirectoryNode {
    const node = this.#node(path);
    if (node.kind !== 'directory') throw fault('ENOTDIR', path);
    return node;
  }

  #parent(path: string): { directory: DirectoryNode; name: string } {
    const cut = path.lastIndexOf('/');
    return { directory: this.#directoryAt(path.slice(0, cut)), name: path.slice(cut + 1) };
  }
}

/** An error as Node's file functions throw it. */
export function fault(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

function change(directory: DirectoryNode, entryChange: EntryChange): void {
  apply(directory.entries, entryChange);
  directory.pending.push(entryChange);
}

function apply(entries: Map<string, Node>, { name, node, alsoRemove }: EntryChange): void {
  if (alsoRemove !== undefined) entries.delete(alsoRemove);
  if (node) entries.set(name, node);
  else entries.delete(name);
}

function survivors(
  directory: DirectoryNode,
  random: (limit: number) => number,
  copies: Map<Node, Node>,
  disk: MemoryDisk,
): Map<string, Node> {
  const entries = new Map(directory.durable);
  for (const entryChange of directory.pending) if (random(2) === 1) apply(entries, entryChange);
  return new Map([...entries].map(([name, node]) => [name, survivor(node, random, copies, disk)]));
}

/** A node after the cut; one that has several names (links) stays one node. */
function survivor(node: Node, random: (limit: number) => number, copies: Map<Node, Node>, disk: MemoryDisk): Node {
  const known = copies.get(node);
  if (known) return known;
  const copy: Node = { ...node };
  copies.set(node, copy);
  if (copy.kind === 'file' && node.kind === 'file') {
    copy.data = tear(node.data, node.durable, random);
    copy.durable = copy.data;
  }
  if (copy.kind === 'directory' && node.kind === 'directory') {
    copy.entries = survivors(node, random, copies, disk);
    copy.durable = new Map(copy.entries);
    copy.pending = [];
  }
  return copy;
}

const TEARS: Tear[] = [
  (_data, durable) => durable,
  (data) => data,
  (data) => data.subarray(0, data.length >> 1),
  (data) => Buffer.alloc(data.length),
  (data) => Buffer.concat([data.subarray(0, data.length >> 1), Buffer.alloc(data.length - (data.length >> 1))]),
  (data) => Buffer.concat([Buffer.alloc(data.length >> 1), data.subarray(data.length >> 1)]),
];

function tear(data: Buffer, durable: Buffer, random: (limit: number) => number): Buffer {
  if (data.equals(durable)) return data;
  return TEARS[random(TEARS.length)]?.(data, durable) ?? durable;
}
