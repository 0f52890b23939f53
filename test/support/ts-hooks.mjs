import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Stripped sources by their hash: tests start hundreds of processes, and the compiler costs each of them a second. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/softflow-js/', import.meta.url));

export async function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return nextLoad(url, context);
  const path = fileURLToPath(url);
  const text = await readFile(path, 'utf8');
  const cached = join(CACHE, createHash('sha256').update(path).update(text).digest('hex'));
  const source = await readFile(cached, 'utf8').catch(() => strip(path, text, cached));
  return { format: 'module', source, shortCircuit: true };
}

async function strip(path, text, cached) {
  const { transform } = await import('@swc/core');
  const { code } = await transform(text, {
    filename: path,
    swcrc: false,
    // Nobody reads them, and without them a worker loads in four fifths of the processor time.
    sourceMaps: false,
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
    module: { type: 'es6' },
  });
  await mkdir(dirname(cached), { recursive: true });
  const unfinished = `${cached}.${process.pid}`;
  await writeFile(unfinished, code);
  await rename(unfinished, cached);
  return code;
}
