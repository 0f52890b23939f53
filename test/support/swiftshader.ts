import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import { type CacheEntry, ensureCached } from '../../setup/cache.ts';
import { type DawnSetup, ensureDawn } from '../../setup/dawn.ts';
import { fetchNpmPackage, tarFiles } from '../../setup/npm-package.ts';
import { CHROMIUM_PACKAGE } from './chromium.ts';

const DRIVER = 'vk_swiftshader_icd.json';
const ENTRY: CacheEntry = {
  name: `test/swiftshader-${CHROMIUM_PACKAGE.version}`,
  keyFiles: [DRIVER, 'libvk_swiftshader.so', 'libvulkan.so.1'],
  needsBytes: 300_000_000,
};

export interface SoftwareGpu {
  dawn: DawnSetup;
  /** Environment of a process that shall compute on it. */
  env: NodeJS.ProcessEnv;
}

/** A GPU made of software, so that WebGPU can be tested anywhere; without one, the reason. */
export async function softwareGpu(): Promise<SoftwareGpu | { reason: string }> {
  try {
    const folder = await ensureSwiftshader();
    return {
      dawn: await ensureDawn(),
      env: {
        VK_DRIVER_FILES: join(folder, DRIVER),
        LD_LIBRARY_PATH: folder,
        XDG_RUNTIME_DIR: folder,
        SOFTFLOW_WEBGPU_SOFTWARE: '1',
      },
    };
  } catch (error) {
    return { reason: (error as Error).message.split('\n')[0] ?? '' };
  }
}

/** The Vulkan driver of Chromium, with its loader, from the package that the browser of the tests is in. */
function ensureSwiftshader(): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new RangeError(`no SwiftShader for ${process.platform}-${process.arch}`);
  return ensureCached(ENTRY, async (folder) => {
    const members = await fetchNpmPackage(CHROMIUM_PACKAGE, folder);
    const archive = await promisify(brotliDecompress)(members.get('package/bin/swiftshader.tar.br') as Buffer);
    await mkdir(folder, { recursive: true });
    for (const [path, bytes] of tarFiles(archive)) await writeFile(join(folder, path), bytes, { mode: 0o755 });
  });
}
