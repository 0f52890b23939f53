import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { SoftflowError } from '../errors.ts';
import { lastLines, runCommand } from './command.ts';

/** A package of the npm registry, pinned to one archive by its digest. */
export interface NpmPackage {
  name: string;
  version: string;
  /** As a lockfile writes it: `sha512-` and base64. */
  integrity: string;
}

const MAX_UNPACKED_BYTES = 400_000_000;

/**
 * Fetches a package with npm, checks its digest and gives its files by their paths. None of its code is run.
 * @param folder where the archive lies meanwhile
 * @throws SoftflowError `SETUP_DOWNLOAD_FAILED` (retryable), `SETUP_CHECKSUM`
 */
export async function fetchNpmPackage(wanted: NpmPackage, folder: string): Promise<Map<string, Buffer>> {
  const downloads = join(folder, '.download');
  await mkdir(downloads, { recursive: true });
  const spec = `${wanted.name}@${wanted.version}`;
  const args = ['pack', spec, '--ignore-scripts', '--pack-destination', downloads, '--cache', join(downloads, 'cache')];
  const { status, stderr } = await runCommand('npm', args, { cwd: downloads });
  const archive = (await readdir(downloads)).find((name) => name.endsWith('.tgz'));
  if (status !== 0 || archive === undefined) throw notFetched(spec, stderr);
  const bytes = await readFile(join(downloads, archive));
  const received = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
  if (received !== wanted.integrity)
    throw new SoftflowError(
      'SETUP_CHECKSUM',
      `Wrong checksum of ${spec}: expected ${wanted.integrity}, received ${received}. It was not used. ` +
        'Run the set-up again; if it happens again, ask who runs your package mirror.',
      { details: { expected: wanted.integrity, received } },
    );
  await rm(downloads, { recursive: true });
  return tarFiles(await promisify(gunzip)(bytes, { maxOutputLength: MAX_UNPACKED_BYTES }));
}

/** Regular files of a tar archive; its digest is pinned, so its fields are taken at their word. */
export function tarFiles(archive: Buffer): Map<string, Buffer> {
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

function notFetched(spec: string, output: string): SoftflowError {
  return new SoftflowError(
    'SETUP_DOWNLOAD_FAILED',
    `npm could not fetch ${spec}: ${reasonOf(output) || lastLines(output)}. Check the network and the registry that npm uses ` +
      '(npm config get registry), or copy a filled cache folder (SOFTFLOW_CACHE).',
    { retryable: true, details: { package: spec } },
  );
}

/** "code ENOTCACHED, request to ... failed" from what npm says around it. */
function reasonOf(stderr: string): string {
  const lines = stderr
    .split('\n')
    .flatMap((line) => /^npm (?:error|ERR!) (?!A complete log)(.+)/.exec(line)?.[1] ?? []);
  return lines.slice(0, 2).join(', ');
}
