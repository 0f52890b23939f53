import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { SoftflowError } from '../errors.ts';
import { type CacheEntry, cacheRoot, ensureCached, findCached } from './cache.ts';
import { lastLines, runCommand } from './command.ts';
import { packageRoot } from './paths.ts';
import type { OnProgress } from './progress.ts';
import { fetchWheel, type Wheel } from './wheel.ts';

const VERSION = '2.21.0';
const LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];
const FOUR_GB = 4_000_000_000;

/**
 * Flags of TensorFlow's own build (`tf.sysconfig.get_compile_flags()`): with another C++ ABI or Eigen alignment, native ops
 * would link and then read tensors wrongly.
 */
const COMPILE_FLAGS = [
  '-std=c++17',
  '-O3',
  '-fPIC',
  '-DNAPI_VERSION=8',
  '-D_GLIBCXX_USE_CXX11_ABI=1',
  '-DEIGEN_MAX_ALIGN_BYTES=64',
];
const ADDON_LIBRARIES = ['-ltensorflow_cc', '-ltensorflow_framework'];
const PRELOAD_LIBRARIES = ['-ltensorflow_framework', '-Wl,-z,initfirst'];
const ADDON = 'tfjs_binding.node';
/** Loaded before the addon; see its source. */
const PRELOAD = 'preload.node';

/** The native side of `@tensorflow/tfjs-node-gpu`. */
export interface TensorflowSetup {
  /** The addon to load; it finds the library by its own path, so the cache folder may be moved as a whole. */
  addonPath: string;
  libDir: string;
  includeDir: string;
  version: string;
  build: 'cpu' | 'cuda';
}

export interface TensorflowOptions {
  onProgress?: OnProgress;
  /** Use the CUDA build of the library. Default: whether an NVIDIA GPU is there. */
  gpu?: boolean;
}

/**
 * The TensorFlow library and the addon of `@tensorflow/tfjs-node-gpu` compiled against it, made on first use.
 *
 * @throws SoftflowError `SETUP_UNSUPPORTED_PLATFORM`, `SETUP_NO_COMPILER`, `SETUP_COMPILE_FAILED` and those of the download;
 *   callers may go on with a slower backend
 */
export async function ensureTensorflow(options: TensorflowOptions = {}): Promise<TensorflowSetup> {
  const onProgress = options.onProgress ?? (() => {});
  const build = (options.gpu ?? hasNvidiaGpu()) ? 'cuda' : 'cpu';
  const library = await ensureLibrary(build, onProgress);
  const libDir = join(library, 'lib');
  const includeDir = join(library, 'include');
  const addonPath = await ensureAddon({ build, libDir, includeDir, onProgress });
  onProgress({ item: 'tensorflow', phase: 'ready', message: `TensorFlow ${VERSION} (${build})` });
  return { addonPath, libDir, includeDir, version: VERSION, build };
}

/** The same when it is in the cache already, else undefined. Never downloads or compiles. */
export async function findTensorflow(options: { gpu?: boolean } = {}): Promise<TensorflowSetup | undefined> {
  const build = (options.gpu ?? hasNvidiaGpu()) ? 'cuda' : 'cpu';
  const library = await findCached(libraryEntry(build));
  if (!library) return undefined;
  const libDir = join(library, 'lib');
  const includeDir = join(library, 'include');
  const folder = await findCached(addonEntry(await addonKey(build)));
  if (!folder) return undefined;
  return { addonPath: join(folder, ADDON), libDir, includeDir, version: VERSION, build };
}

/** Whether the NVIDIA driver has a GPU on this machine. */
export function hasNvidiaGpu(): boolean {
  return existsSync('/proc/driver/nvidia/version') && existsSync('/dev/nvidiactl');
}

function libraryEntry(build: 'cpu' | 'cuda'): CacheEntry {
  return {
    name: `tensorflow/${build}-${VERSION}-${process.arch}`,
    keyFiles: [...LIBRARIES.map((file) => `lib/${file}`), 'include/tensorflow/c/c_api.h'],
    needsBytes: build === 'cpu' ? 1_500_000_000 : 2_500_000_000,
  };
}

async function ensureLibrary(build: 'cpu' | 'cuda', onProgress: OnProgress): Promise<string> {
  const wheel = tensorflowWheel(build);
  return ensureCached(libraryEntry(build), async (folder) => {
    await fetchWheel(wheel, folder, 'tensorflow', onProgress);
    // The linker looks for names that end in .so.
    for (const file of LIBRARIES) await symlink(file, join(folder, 'lib', file.replace(/\.2$/, '')));
  });
}

function tensorflowWheel(build: 'cpu' | 'cuda'): Wheel {
  const common = { version: VERSION, maxUnpackedBytes: FOUR_GB, select: selectTensorflow };
  const host = `${process.platform}-${process.arch}`;
  if (host === 'linux-x64' && build === 'cpu') {
    const sha256 = '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c';
    return { ...common, name: 'tensorflow-cpu', sha256, sizeBytes: 273_829_956, platform: 'manylinux_2_27_x86_64' };
  }
  if (host === 'linux-x64') {
    const sha256 = '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124';
    return { ...common, name: 'tensorflow', sha256, sizeBytes: 572_440_367, platform: 'manylinux_2_27_x86_64' };
  }
  if (host === 'linux-arm64') {
    const sha256 = '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c';
    return { ...common, name: 'tensorflow', sha256, sizeBytes: 281_828_020, platform: 'manylinux_2_27_aarch64' };
  }
  throw new SoftflowError(
    'SETUP_UNSUPPORTED_PLATFORM',
    `No TensorFlow library is known for ${host}: expected Linux on x64 or arm64. Run softflow in a Linux container there, ` +
      'or choose another backend.',
    { details: { expected: ['linux-x64', 'linux-arm64'], received: host } },
  );
}

/** The two libraries and the headers that the addon and native ops include; the wheel's Python parts stay packed. */
function selectTensorflow(member: string): string | undefined {
  const path = member.startsWith('tensorflow/') ? member.slice('tensorflow/'.length) : undefined;
  if (path === undefined) return undefined;
  if (LIBRARIES.includes(path)) return `lib/${path}`;
  const unused = /^include\/external\/(?!onednn\/)/;
  return path.startsWith('include/') && !unused.test(path) ? path : undefined;
}

interface Sources {
  /** Those of the tfjs package, and softflow's own native ops, which register themselves. */
  addon: string[];
  preload: string[];
}

async function nativeSources(): Promise<Sources> {
  const native = join(packageRoot(), 'setup', 'native');
  const binding = join(tfjsFolder(), 'binding');
  return {
    addon: [...(await filesIn(binding)), ...(await filesIn(native))],
    preload: await filesIn(join(native, 'preload')),
  };
}

async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort()
    .map((name) => join(folder, name));
}

function tfjsFolder(): string {
  return dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-node-gpu/package.json'));
}

/** Hash of all that the addon's bytes depend on, apart from the compiler. */
async function addonKey(build: 'cpu' | 'cuda'): Promise<string> {
  const hash = createHash('sha256').update(
    JSON.stringify([VERSION, build, process.arch, COMPILE_FLAGS, ADDON_LIBRARIES, PRELOAD_LIBRARIES]),
  );
  const { addon, preload } = await nativeSources();
  for (const file of [...addon, ...preload]) hash.update(basename(file)).update(await readFile(file));
  return hash.digest('hex').slice(0, 16);
}

function addonEntry(key: string): CacheEntry {
  return { name: `tfjs-addon/${key}`, keyFiles: [ADDON, PRELOAD], needsBytes: 50_000_000 };
}

interface AddonInput {
  build: 'cpu' | 'cuda';
  libDir: string;
  includeDir: string;
  onProgress: OnProgress;
}

async function ensureAddon(input: AddonInput): Promise<string> {
  const entry = addonEntry(await addonKey(input.build));
  const folder = await ensureCached(entry, (target) => compileAddon(target, entry.name, input));
  return join(folder, ADDON);
}

async function compileAddon(folder: string, entryName: string, input: AddonInput): Promise<void> {
  const { addon, preload } = await nativeSources();
  const targets = { [ADDON]: compiled(addon), [PRELOAD]: compiled(preload) };
  const sources = Object.values(targets).flat();
  const includes = includeFlags(input.includeDir);
  const objects = join(folder, 'objects');
  await mkdir(objects);
  let done = 0;
  const report = () =>
    input.onProgress({ item: 'tensorflow', phase: 'compile', bytes: done, totalBytes: sources.length });
  report();
  await Promise.all(
    sources.map(async (source) => {
      await compiler([...COMPILE_FLAGS, '-w', ...includes, '-c', source, '-o', objectOf(objects, source)]);
      done++;
      report();
    }),
  );
  const rpath = `-Wl,-rpath,$ORIGIN/${relative(join(cacheRoot(), entryName), input.libDir)}`;
  for (const [target, files] of Object.entries(targets)) {
    const libraries = target === ADDON ? ADDON_LIBRARIES : PRELOAD_LIBRARIES;
    const built = files.map((source) => objectOf(objects, source));
    await compiler(['-shared', '-o', join(folder, target), ...built, `-L${input.libDir}`, ...libraries, rpath]);
  }
  await rm(objects, { recursive: true });
}

function compiled(sources: string[]): string[] {
  return sources.filter((file) => file.endsWith('.cc'));
}

function objectOf(folder: string, source: string): string {
  return join(folder, `${basename(source)}.o`);
}

function includeFlags(includeDir: string): string[] {
  const nodeHeaders = dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json'));
  return [join(nodeHeaders, 'include'), includeDir].map((path) => `-I${path}`);
}

async function compiler(args: string[]): Promise<void> {
  const program = process.env['CXX'] || 'g++';
  const result = await runCommand(program, args);
  if (result.missing) {
    throw new SoftflowError(
      'SETUP_NO_COMPILER',
      `The TensorFlow addon is compiled on first use, but the program "${program}" was not found. Install a C++17 compiler ` +
        '(Debian, Ubuntu: apt install g++), set CXX to one, or copy the cache folder of a machine where the set-up has run.',
      { details: { program } },
    );
  }
  if (result.status === 0) return;
  throw new SoftflowError(
    'SETUP_COMPILE_FAILED',
    `${program} could not build the TensorFlow addon (exit status ${result.status}):\n${lastLines(result.stderr)}\n` +
      'Expected a C++17 compiler such as g++ 9 or later; CXX chooses another.',
    { details: { program, arguments: args } },
  );
}
