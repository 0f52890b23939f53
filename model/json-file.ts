import { SoftflowError } from '../errors.ts';
import { fileSource } from './ranged-file.ts';

/** Longest JSON file read whole: the largest vocabularies take about 40 MiB. */
const MAX_BYTES = 128 * 2 ** 20;

/** Deeper files overflow the stack of whatever walks them. */
const MAX_DEPTH = 64;

/** Reads a JSON file of a model. Throws `MODEL_FILE_MISSING`, `MODEL_FILE_DAMAGED`. */
export async function readJsonFile(path: string, maxBytes = MAX_BYTES): Promise<unknown> {
  const source = await fileSource(path);
  if (source.size > maxBytes) throw damaged(path, `at most ${maxBytes} bytes`, `${source.size} bytes`);
  const bytes = await source.read(0, source.size);
  const depth = deepestNesting(bytes);
  if (depth > MAX_DEPTH) throw damaged(path, `nesting of at most ${MAX_DEPTH}`, `${depth}`);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw damaged(path, 'JSON in UTF-8', cause instanceof SyntaxError ? cause.message : 'bytes that are not UTF-8');
  }
}

function deepestNesting(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inText = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 0x22) inText = !inText;
    else if (inText && byte === 0x5c) i++;
    else if (!inText && (byte === 0x7b || byte === 0x5b)) deepest = Math.max(deepest, ++depth);
    else if (!inText && (byte === 0x7d || byte === 0x5d)) depth--;
  }
  return deepest;
}

function damaged(file: string, expected: string, received: string): SoftflowError {
  return new SoftflowError(
    'MODEL_FILE_DAMAGED',
    `${file} cannot be read. Expected: ${expected}. Received: ${received}. Fetch the file again.`,
    { details: { file, expected, received } },
  );
}
