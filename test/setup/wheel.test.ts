import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { SetupProgress } from '../../setup/progress.ts';
import { fetchWheel, type Wheel } from '../../setup/wheel.ts';
import { unzip } from '../../setup/zip.ts';
import { random } from '../support/fuzz.ts';
import { buildZip } from './build-zip.ts';
import { useTemporaryCache } from './temporary-cache.ts';

const root = useTemporaryCache();
const everything = { select: (name: string) => name, maxBytes: 1e6 };

function target(): string {
  const folder = join(root(), 'target');
  mkdirSync(folder, { recursive: true });
  return folder;
}

function zipFile(...members: Parameters<typeof buildZip>[0]): string {
  const file = join(root(), 'archive.zip');
  writeFileSync(file, buildZip(members));
  return file;
}

/** Stands in for Python: `-m pip download` copies a prepared wheel to where `--dest` says. */
function fakePython(script: string): void {
  const path = join(root(), 'python');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  vi.stubEnv('SOFTFLOW_PYTHON', path);
}

function serveWheel(content: Buffer): Wheel {
  const file = join(root(), 'thing-1.0-py3-none-any.whl');
  writeFileSync(file, content);
  fakePython(`while [ "$1" != --dest ]; do shift; done; cp '${file}' "$2"`);
  const sha256 = createHash('sha256').update(content).digest('hex');
  return {
    name: 'thing',
    version: '1.0',
    sha256,
    sizeBytes: content.length,
    maxUnpackedBytes: 1e6,
    select: (name) => name,
  };
}

describe('unzip', () => {
  it('writes the selected members and leaves the others out', async () => {
    const big = Buffer.alloc(300_000, 'softflow ');
    const file = zipFile({ name: 'a/big', content: big }, { name: 'a/left-out', content: Buffer.from('x') });
    const select = (name: string) => (name === 'a/big' ? 'lib/big' : undefined);
    expect(await unzip(file, target(), { select, maxBytes: 1e6 })).toEqual(['lib/big']);
    expect(readFileSync(join(target(), 'lib/big')).equals(big)).toBe(true);
    expect(readdirSync(target())).toEqual(['lib']);
  });

  it.each(['../evil', '/etc/evil', 'a/../../evil', 'a\\..\\evil', '..', 'a//b/../../../evil'])(
    'refuses a member that would be written to %s',
    async (name) => {
      const file = zipFile({ name, content: Buffer.from('evil') });
      await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
      expect(existsSync(join(root(), 'evil'))).toBe(false);
    },
  );

  it('refuses an archive that would unpack to more than allowed', async () => {
    const file = zipFile({ name: 'bomb', content: Buffer.alloc(2_000_000) });
    await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
    expect(readdirSync(target())).toEqual([]);
  });

  it('refuses a member that is larger than it declares', async () => {
    const file = zipFile({ name: 'bomb', content: Buffer.alloc(2_000_000), declaredBytes: 10 });
    await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
  });

  it('refuses a member that is shorter than it declares', async () => {
    const file = zipFile({ name: 'short', content: Buffer.from('abc'), declaredBytes: 10 });
    await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_DAMAGED' });
  });

  it('unpacks up to 200 times its size, or to the limit of the caller, and not a byte more (S3)', async () => {
    const below = random(1);
    const noise = Buffer.from(Array.from({ length: 8000 }, () => below(256)));
    const archive = (declaredBytes: number) => buildZip([{ name: 'a', content: noise, declaredBytes }]);
    const cap = 200 * archive(0).length;
    const file = join(root(), 'ratio.zip');
    const refusal = async (declaredBytes: number, maxBytes: number) => {
      writeFileSync(file, archive(declaredBytes));
      return unzip(file, target(), { select: (name) => name, maxBytes }).catch((error: Error) => error.message);
    };
    expect(await refusal(cap, 2 * cap)).toMatch(/has 8000 bytes, expected/);
    expect(await refusal(cap + 1, 2 * cap)).toContain(`unpack to ${cap + 1} bytes, expected at most ${cap}`);
    expect(await refusal(8000, 8000)).toEqual(['a']);
    expect(await refusal(8000, 7999)).toMatch(/unpack to 8000 bytes, expected at most 7999/);
  });

  // Found by mutations: so many bytes were taken before the file's own size was looked at.
  it('refuses a directory of 4 GiB in a small file without taking the memory (S1)', async () => {
    const bytes = buildZip([{ name: 'a', content: Buffer.from('a') }]);
    bytes.writeUInt32LE(0xfffffff0, bytes.length - 10);
    const file = join(root(), 'archive.zip');
    writeFileSync(file, bytes);
    const before = process.memoryUsage().external;
    await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_DAMAGED' });
    expect(process.memoryUsage().external - before).toBeLessThan(64 * 2 ** 20);
  });

  it.each([
    ['two members of one name', ['a', 'a']],
    ['a member in a folder that is a file', ['a', 'a/b']],
    ['a member that is a folder to another', ['a/b', 'a']],
    ['a name that no file system holds', ['n'.repeat(300)]],
  ])('refuses %s (S9)', async (_, names) => {
    const file = zipFile(...names.map((name) => ({ name, content: Buffer.from(name) })));
    await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
  });

  it('refuses every truncation of an archive', async () => {
    const whole = buildZip([{ name: 'a', content: Buffer.from('some content') }]);
    const file = join(root(), 'cut.zip');
    for (let bytes = 0; bytes < whole.length; bytes++) {
      writeFileSync(file, whole.subarray(0, bytes));
      await expect(unzip(file, target(), everything)).rejects.toMatchObject({ code: 'ARCHIVE_DAMAGED' });
    }
  });
});

describe('fetchWheel', () => {
  it('downloads, checks and unpacks, and reports each phase', async () => {
    const wheel = serveWheel(buildZip([{ name: 'thing/data', content: Buffer.from('data') }]));
    const seen: SetupProgress[] = [];
    await fetchWheel(wheel, target(), 'thing', (progress) => seen.push(progress));
    expect(readFileSync(join(target(), 'thing/data'), 'utf8')).toBe('data');
    expect(readdirSync(target())).toEqual(['thing']);
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['download', 'verify', 'unpack']);
  });

  it('refuses a wheel with another checksum before anything is unpacked', async () => {
    const wheel = { ...serveWheel(buildZip([{ name: 'a', content: Buffer.from('a') }])), sha256: '0'.repeat(64) };
    const error = await fetchWheel(wheel, target(), 'thing', () => {}).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'SETUP_CHECKSUM', message: expect.stringContaining('0'.repeat(64)) });
    expect(existsSync(join(target(), 'a'))).toBe(false);
  });

  it('says how to install Python when it is missing', async () => {
    const wheel = serveWheel(buildZip([]));
    vi.stubEnv('SOFTFLOW_PYTHON', join(root(), 'no-such-python'));
    await expect(fetchWheel(wheel, target(), 'thing', () => {})).rejects.toMatchObject({
      code: 'SETUP_NO_PYTHON',
      message: expect.stringMatching(/apt install python3[\s\S]*SOFTFLOW_CACHE/),
    });
  });

  it('says how to install pip when Python has none', async () => {
    const wheel = serveWheel(buildZip([]));
    fakePython('echo "python3: No module named pip" >&2; exit 1');
    await expect(fetchWheel(wheel, target(), 'thing', () => {})).rejects.toMatchObject({
      code: 'SETUP_NO_PIP',
      message: expect.stringContaining('python3-pip'),
    });
  });

  it('shows what pip said when the registry does not answer, as an error worth a retry', async () => {
    const wheel = serveWheel(buildZip([]));
    fakePython('echo "ERROR: Could not find a version that satisfies thing" >&2; exit 1');
    await expect(fetchWheel(wheel, target(), 'thing', () => {})).rejects.toMatchObject({
      code: 'SETUP_DOWNLOAD_FAILED',
      retryable: true,
      message: expect.stringContaining('Could not find a version'),
    });
  });
});
