import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { SoftflowError } from '../../errors.ts';

/** What a text file may hold before it is refused. */
export const TEXT_LIMITS = {
  /** Bytes of one line. */
  lineBytes: 16 * 2 ** 20,
  /** Bytes that a gzip file unpacks to. */
  unpackedBytes: 64 * 2 ** 30,
  /** Unpacked bytes for each packed one, beyond the first MiB. Tables of interactions reach 20. */
  ratio: 200,
};

export type TextLimits = typeof TEXT_LIMITS;

const FREE_BYTES = 2 ** 20;
const CHUNK_BYTES = 2 ** 18;
const QUOTE = 0x22;
const LINE_BREAK = 0x0a;

/**
 * Whether a data file is gzip.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`
 */
export async function isGzip(path: string): Promise<boolean> {
  try {
    const handle = await open(path);
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, 0);
      return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const found = code === 'ENOENT' ? 'nothing' : code === 'EISDIR' ? 'a folder' : `an unreadable path (${code})`;
    throw new SoftflowError(
      'DATA_NOT_FOUND',
      `Expected a data file at ${path}, found ${found}; check the path (of a recipe: \`data.source\`)`,
      {
        details: { path },
        cause,
      },
    );
  }
}

/**
 * The file's bytes, unpacked, chunk by chunk.
 *
 * @throws SoftflowError `DATA_UNREADABLE` for a gzip file that is damaged, or unpacks to more than the limits
 */
export async function* readBytes(
  path: string,
  gzip: boolean,
  limits: TextLimits = TEXT_LIMITS,
): AsyncGenerator<Buffer> {
  const raw = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  const stream = gzip ? raw.pipe(createGunzip()) : raw;
  raw.on('error', (error) => stream.destroy(error));
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      bytes += (chunk as Buffer).length;
      if (gzip) checkUnpacked(path, bytes, raw.bytesRead, limits);
      yield chunk as Buffer;
    }
  } catch (cause) {
    if (cause instanceof SoftflowError) throw cause;
    throw new SoftflowError('DATA_UNREADABLE', `${path} cannot be read: ${(cause as Error).message}`, { cause });
  } finally {
    raw.destroy();
  }
}

function checkUnpacked(path: string, bytes: number, packedBytes: number, { ratio, unpackedBytes }: TextLimits): void {
  const most = Math.min(unpackedBytes, Math.max(FREE_BYTES, ratio * packedBytes));
  if (bytes > most) throw unreadable(path, `at most ${most} bytes from ${packedBytes} packed ones`, `${bytes} or more`);
}

/**
 * Looks at every byte of a text file before DuckDB does: gzip that unpacks to too much, a line that is too long, and a quote that
 * is never closed, after which DuckDB drops the rest of the file without a word.
 *
 * @throws SoftflowError `DATA_UNREADABLE`
 */
export async function checkText(
  file: { path: string; delimiter: string; quoted: boolean },
  gzip: boolean,
  limits: TextLimits = TEXT_LIMITS,
): Promise<void> {
  const quotes = file.quoted ? new QuoteScan(file.delimiter) : undefined;
  let [offset, lineStart] = [0, 0];
  for await (const chunk of readBytes(file.path, gzip, limits)) {
    // A chunk is far shorter than the longest line: only lines that began before it can be too long.
    const first = chunk.indexOf(LINE_BREAK);
    const lineBytes = offset + (first < 0 ? chunk.length : first) - lineStart;
    if (lineBytes > limits.lineBytes)
      throw unreadable(file.path, `lines of at most ${limits.lineBytes} bytes`, `a longer one at byte ${lineStart}`);
    if (first >= 0) lineStart = offset + chunk.lastIndexOf(LINE_BREAK) + 1;
    quotes?.add(chunk, offset);
    offset += chunk.length;
  }
  if (quotes?.opened !== undefined)
    throw new SoftflowError(
      'DATA_UNREADABLE',
      `Expected every quoted value to end, but the quote at byte ${quotes.opened} of ${file.path} is never closed; close it or remove it`,
      { details: { path: file.path, byte: quotes.opened } },
    );
}

/** Hops from quote to quote. */
class QuoteScan {
  /** Where the quoted value begins that has not ended yet. */
  opened: number | undefined;
  readonly #beforeValue: ReadonlySet<number>;
  #closed = -1;
  #last = LINE_BREAK;

  constructor(delimiter: string) {
    this.#beforeValue = new Set([LINE_BREAK, 0x0d, Buffer.from(delimiter).at(-1) as number]);
  }

  add(chunk: Buffer, offset: number): void {
    for (let at = chunk.indexOf(QUOTE); at >= 0; at = chunk.indexOf(QUOTE, at + 1)) {
      const previous = at === 0 ? this.#last : (chunk[at - 1] as number);
      // A doubled quote closes and opens again at once, which leaves the state as it was.
      if (this.opened !== undefined) {
        this.opened = undefined;
        this.#closed = offset + at;
      } else if (this.#beforeValue.has(previous) || this.#closed === offset + at - 1) this.opened = offset + at;
    }
    this.#last = chunk[chunk.length - 1] ?? this.#last;
  }
}

export function unreadable(path: string, expected: string, found: string): SoftflowError {
  return new SoftflowError(
    'DATA_UNREADABLE',
    `Expected ${expected} in ${path}, found ${found}; is this the right file?`,
    {
      details: { path, expected, found },
    },
  );
}
