import { open } from 'node:fs/promises';
import { SoftflowError } from '../errors.ts';

/** A file of bytes read in ranges. `read` never returns fewer bytes than asked for. */
export interface ByteSource {
  /** What to call it in errors: the path, or the name given for bytes in memory. */
  readonly name: string;
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Bytes in memory as a {@link ByteSource}. Reads are views, not copies. */
export function bytesSource(bytes: Uint8Array, name = 'bytes'): ByteSource {
  return {
    name,
    size: bytes.length,
    read: async (offset, length) => {
      if (offset + length > bytes.length) throw truncated(name, offset + length, bytes.length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/**
 * A file as a {@link ByteSource}. It is opened for each read, so that no handle outlives its use.
 * Throws `MODEL_FILE_MISSING` when it cannot be opened or is no plain file.
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const size = await withFile(path, async (file) => {
    const stat = await file.stat();
    if (!stat.isFile()) {
      throw new SoftflowError('MODEL_FILE_MISSING', `${path} is not a file. Expected a plain file.`, {
        details: { path },
      });
    }
    return stat.size;
  });
  return { name: path, size, read: (offset, length) => readFileRange(path, offset, length) };
}

// One call of the system reads at most 2 GiB.
const LONGEST_READ = 2 ** 30;

async function readFileRange(path: string, offset: number, length: number): Promise<Uint8Array> {
  return withFile(path, async (file) => {
    const { size } = await file.stat();
    if (offset + length > size) throw truncated(path, offset + length, size);
    const bytes = new Uint8Array(new ArrayBuffer(length));
    let done = 0;
    while (done < length) {
      const wanted = Math.min(LONGEST_READ, length - done);
      const { bytesRead } = await file.read(bytes, done, wanted, offset + done);
      if (bytesRead === 0) throw truncated(path, offset + length, offset + done);
      done += bytesRead;
    }
    return bytes;
  });
}

async function withFile<T>(path: string, use: (file: Awaited<ReturnType<typeof open>>) => Promise<T>): Promise<T> {
  const file = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
    const reason = cause.code === 'ENOENT' ? 'does not exist' : `cannot be read (${cause.code})`;
    throw new SoftflowError('MODEL_FILE_MISSING', `${path} ${reason}. Check the path of the model.`, {
      details: { path },
      cause,
    });
  });
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

function truncated(name: string, expected: number, received: number): SoftflowError {
  return new SoftflowError(
    'MODEL_FILE_DAMAGED',
    `${name} is too short. Expected: at least ${expected} bytes. Received: ${received}. Fetch the file again.`,
    { details: { file: name, expected, received } },
  );
}
