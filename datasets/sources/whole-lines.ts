import { open } from 'node:fs/promises';
import { SoftflowError } from '../../errors.ts';
import { isGzip, readBytes } from './text-file.ts';

const LINE_BREAK = 0x0a;

/**
 * Copies a text file, unpacked, up to its last line break: while a writer appends, the last line may be half a row, and
 * the last part of a gzip file half a packet. Nothing tells half a row from a whole one, so no line without an end counts.
 *
 * @returns bytes behind the last line break
 * @throws SoftflowError `DATA_NOT_FOUND` or `DATA_UNREADABLE`
 */
export async function copyWholeLines(path: string, target: string): Promise<number> {
  const copy = await open(target, 'w', 0o600);
  let [bytes, whole] = [0, 0];
  try {
    for await (const chunk of untilTornEnd(readBytes(path, await isGzip(path)))) {
      await copy.writeFile(chunk);
      const last = chunk.lastIndexOf(LINE_BREAK);
      if (last >= 0) whole = bytes + last + 1;
      bytes += chunk.length;
    }
    await copy.truncate(whole);
  } finally {
    await copy.close();
  }
  return bytes - whole;
}

/** What a gzip file holds before its end is missing; any other damage stays an error. */
async function* untilTornEnd(chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (error) {
    const cause = error instanceof SoftflowError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
    if (cause?.code !== 'Z_BUF_ERROR') throw error;
  }
}
