import { createWriteStream } from 'node:fs';
import { chmod, type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, join, normalize, resolve, sep } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { SoftflowError } from '../errors.ts';

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
const STORED = 0;
const DEFLATED = 8;

/**
 * A member may unpack to so many times the archive's size: deflate reaches 1,032, libraries and models stay below 5. The
 * first MiB is free, since small files of repeated text are no bombs.
 */
const MAX_RATIO = 200;
const FREE_BYTES = 2 ** 20;

interface Archive {
  handle: FileHandle;
  file: string;
  size: number;
}

interface ZipMember {
  name: string;
  method: number;
  packedBytes: number;
  sizeBytes: number;
  localOffset: number;
}

export interface UnzipOptions {
  /** Where a member goes, relative to the target folder; undefined leaves it out. */
  select: (name: string) => string | undefined;
  /** Most bytes that all selected members together may unpack to. */
  maxBytes: number;
  /** Unpacked so far, of all that was selected, in bytes. */
  onBytes?: (bytes: number, totalBytes: number) => void;
}

/**
 * Unpacks the selected members of a zip file into a folder, as a stream. Returns the paths written, in archive order.
 * Source: APPNOTE.TXT 6.3.10 of PKWARE; no zip64, no encryption, which wheels do not use below 4 GB.
 *
 * @throws SoftflowError `ARCHIVE_DAMAGED` for what is not a whole zip file, `ARCHIVE_UNSAFE` for a member that would leave
 *   the folder or is larger than declared or allowed
 */
export async function unzip(file: string, folder: string, options: UnzipOptions): Promise<string[]> {
  const handle = await open(file);
  try {
    const archive: Archive = { handle, file, size: (await handle.stat()).size };
    const members = (await readMembers(archive)).flatMap((member) => {
      const target = member.name.endsWith('/') ? undefined : options.select(member.name);
      return target === undefined ? [] : [{ member, target }];
    });
    const totalBytes = members.reduce((sum, { member }) => sum + member.sizeBytes, 0);
    const maxBytes = Math.min(options.maxBytes, Math.max(FREE_BYTES, MAX_RATIO * archive.size));
    if (totalBytes > maxBytes)
      throw unsafe(file, `its members unpack to ${totalBytes} bytes, expected at most ${maxBytes}`);
    const written: string[] = [];
    let done = 0;
    for (const { member, target } of members) {
      if (written.includes(target)) throw unsafe(file, `it holds ${JSON.stringify(target)} twice`);
      const path = safePath(file, folder, target);
      const onBytes = (bytes: number) => {
        done += bytes;
        options.onBytes?.(done, totalBytes);
      };
      await place(archive, member, path, onBytes);
      written.push(target);
    }
    return written;
  } finally {
    await handle.close();
  }
}

function safePath(file: string, folder: string, target: string): string {
  const path = resolve(folder, target);
  const outside =
    !path.startsWith(resolve(folder) + sep) || normalize(target) !== join(target) || target.includes('\\');
  if (outside || target.split('/').includes('..') || target.includes('\0')) {
    throw unsafe(file, `member ${JSON.stringify(target)} would be written outside the target folder`);
  }
  return path;
}

/** What a file system says of a name that it cannot hold, or that is a file to one member and a folder to another. */
const NAME_ERRORS = ['EEXIST', 'EISDIR', 'ENOTDIR', 'ENAMETOOLONG', 'EINVAL'];

async function place(
  archive: Archive,
  member: ZipMember,
  path: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await extract(archive, member, path, onBytes);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!NAME_ERRORS.includes(code)) throw error;
    throw unsafe(archive.file, `member ${JSON.stringify(member.name.slice(0, 80))} cannot be written (${code})`);
  }
}

async function readMembers(archive: Archive): Promise<ZipMember[]> {
  const { file, size } = archive;
  const tail = await readAt(archive, Math.max(0, size - END_BYTES - 65_535), Math.min(size, END_BYTES + 65_535));
  let end = tail.length - END_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end--;
  if (end < 0) throw damaged(file, 'it has no end-of-central-directory record; the file is no zip file or is cut off');
  const count = tail.readUInt16LE(end + 10);
  const directory = await readAt(archive, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  const members: ZipMember[] = [];
  for (let at = 0; members.length < count; ) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== ENTRY_SIGNATURE) {
      throw damaged(file, `entry ${members.length} of its central directory is damaged`);
    }
    const nameBytes = directory.readUInt16LE(at + 28);
    members.push({
      name: directory.toString('utf8', at + 46, at + 46 + nameBytes),
      method: directory.readUInt16LE(at + 10),
      packedBytes: directory.readUInt32LE(at + 20),
      sizeBytes: directory.readUInt32LE(at + 24),
      localOffset: directory.readUInt32LE(at + 42),
    });
    at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return members;
}

async function extract(
  archive: Archive,
  member: ZipMember,
  path: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { file } = archive;
  const name = JSON.stringify(member.name);
  if (member.method !== STORED && member.method !== DEFLATED) {
    throw damaged(file, `member ${name} uses compression method ${member.method}, expected 0 or 8`);
  }
  const header = await readAt(archive, member.localOffset, 30);
  if (header.readUInt32LE(0) !== LOCAL_SIGNATURE) throw damaged(file, `member ${name} has no local header`);
  const start = member.localOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  let unpacked = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      unpacked += chunk.length;
      onBytes(chunk.length);
      const tooLarge = unpacked > member.sizeBytes;
      done(
        tooLarge ? unsafe(file, `member ${name} is larger than the ${member.sizeBytes} bytes declared`) : null,
        chunk,
      );
    },
  });
  const stages = [packed(archive, start, member.packedBytes), count, createWriteStream(path)] as const;
  try {
    if (member.method === STORED) await pipeline(...stages);
    else await pipeline(stages[0], createInflateRaw(), stages[1], stages[2]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith('Z_')) throw damaged(file, `member ${name} does not inflate`);
    throw error;
  }
  if (unpacked !== member.sizeBytes) {
    throw damaged(file, `member ${name} has ${unpacked} bytes, expected ${member.sizeBytes}`);
  }
  await chmod(path, 0o644);
}

async function* packed(archive: Archive, start: number, bytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes; at += 1 << 20) {
    yield await readAt(archive, start + at, Math.min(1 << 20, bytes - at));
  }
}

/** Looks at the file's size before it takes memory: `bytes` comes from the archive. */
async function readAt({ handle, file, size }: Archive, offset: number, bytes: number): Promise<Buffer> {
  if (offset + bytes > size) throw damaged(file, `it ends at byte ${size}, expected ${offset + bytes} or more`);
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await handle.read(buffer, 0, bytes, offset);
  if (bytesRead !== bytes) throw damaged(file, `it shrank to ${offset + bytesRead} bytes`);
  return buffer;
}

function damaged(file: string, why: string): SoftflowError {
  return new SoftflowError('ARCHIVE_DAMAGED', `Cannot unpack ${file}: ${why}. Delete it and run the set-up again.`, {
    retryable: true,
    details: { file },
  });
}

function unsafe(file: string, why: string): SoftflowError {
  return new SoftflowError('ARCHIVE_UNSAFE', `Refused to unpack ${file}: ${why}.`, { details: { file } });
}
