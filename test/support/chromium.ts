import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip } from 'node:zlib';
import { type CacheEntry, ensureCached } from '../../setup/cache.ts';
import { runCommand } from '../../setup/command.ts';

const PACKAGE = '@sparticuz/chromium@143.0.4';
const SHA512 =
  'ffa23bb904d18510c3dbf8063d0d4691ff83aa4d116030023c90d97d2cf3d0e5a4e099944e89cd1cf5dbae7e9422494e1e59c32dff31000ce4399281fdc2692c';
/** The browser, the system libraries that a slim machine lacks, and a font: the same pixels wherever the tests run. */
const PARTS = ['chromium', 'al2023.tar', 'fonts.tar'];

const ENTRY: CacheEntry = {
  name: 'test/chromium-143.0.4',
  keyFiles: ['chromium', 'lib/libnss3.so', 'fonts/Open_Sans/OpenSans-Regular.ttf', 'fonts.conf'],
  needsBytes: 600_000_000,
};

/**
 * Folder with `chromium`, `lib/` and `fonts.conf`, from a package of the npm registry that carries them; none of its code
 * is run.
 */
export function ensureChromium(): Promise<string> {
  return ensureCached(ENTRY, async (folder) => {
    const members = await tarFiles(await promisify(gunzip)(await download(join(folder, '.download'))));
    for (const part of PARTS) {
      const content = await promisify(brotliDecompress)(members.get(`package/bin/${part}.br`) as Buffer);
      const files = part.endsWith('.tar') ? tarFiles(content) : new Map([[part, content]]);
      for (const [path, bytes] of files) await writeInto(join(folder, path), bytes);
    }
    await writeFile(join(folder, 'fonts.conf'), fontConfig());
  });
}

async function download(folder: string): Promise<Buffer> {
  await mkdir(folder);
  const args = ['pack', PACKAGE, '--ignore-scripts', '--pack-destination', folder, '--cache', join(folder, 'cache')];
  const { status, stdout, stderr } = await runCommand('npm', args, { cwd: folder });
  const name = stdout.trim().split('\n').at(-1) ?? '';
  if (status !== 0) throw new Error(`npm could not fetch ${PACKAGE}: ${reasonOf(stderr)}`);
  const bytes = await readFile(join(folder, name));
  const digest = createHash('sha512').update(bytes).digest('hex');
  if (digest !== SHA512) throw new Error(`Wrong checksum of ${PACKAGE}: expected ${SHA512}, received ${digest}`);
  await rm(folder, { recursive: true });
  return bytes;
}

/** "code ENOTCACHED, request to ... failed" from what npm says around it. */
function reasonOf(stderr: string): string {
  const lines = stderr
    .split('\n')
    .flatMap((line) => /^npm (?:error|ERR!) (?!A complete log)(.+)/.exec(line)?.[1] ?? []);
  return lines.slice(0, 2).join(', ');
}

async function writeInto(path: string, bytes: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes, { mode: 0o700 });
}

/** Regular files of a tar archive; its digest is pinned, so its fields are taken at their word. */
function tarFiles(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const text = (start: number, length: number) =>
    archive.toString('latin1', start, start + length).replace(/\0[\s\S]*/, '');
  for (let at = 0; text(at, 100) !== ''; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    if (['0', ''].includes(text(at + 156, 1))) files.set(text(at, 100), archive.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

/** Paths are relative to this file, so that the cache may be moved. */
function fontConfig(): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir></fontconfig>
`;
}
