import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type CacheEntry, cacheRoot, ensureCached, findCached } from '../../setup/cache.ts';
import { useTemporaryCache } from './temporary-cache.ts';

const entry: CacheEntry = { name: 'thing/1.0', keyFiles: ['bin/tool'] };

async function fillTool(folder: string, content = 'tool'): Promise<void> {
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'bin', 'tool'), content);
}

describe('the cache', () => {
  const root = useTemporaryCache();

  it('takes its place from SOFTFLOW_CACHE, then XDG_CACHE_HOME, then the home folder', () => {
    expect(cacheRoot({ SOFTFLOW_CACHE: '/a', XDG_CACHE_HOME: '/b', HOME: '/c' })).toBe('/a');
    expect(cacheRoot({ XDG_CACHE_HOME: '/b', HOME: '/c' })).toBe('/b/softflow');
    const inHome = process.platform === 'darwin' ? '/c/Library/Caches/softflow' : '/c/.cache/softflow';
    expect(cacheRoot({ HOME: '/c' })).toBe(inHome);
  });

  it('fills an entry once and finds it afterwards', async () => {
    let fills = 0;
    const fill = (folder: string) => {
      fills++;
      return fillTool(folder);
    };
    const folder = await ensureCached(entry, fill);
    expect(await ensureCached(entry, fill)).toBe(folder);
    expect(readFileSync(join(folder, 'bin', 'tool'), 'utf8')).toBe('tool');
    expect(fills).toBe(1);
  });

  it('leaves nothing behind when filling fails, and can be filled afterwards', async () => {
    const failing = ensureCached(entry, async (folder) => {
      await fillTool(folder);
      throw new Error('killed half-way');
    });
    await expect(failing).rejects.toThrow('killed half-way');
    expect(existsSync(join(root(), entry.name))).toBe(false);
    expect(readdirSync(join(root(), 'tmp'))).toEqual([]);
    expect(await ensureCached(entry, fillTool)).toBe(join(root(), entry.name));
  });

  it('refuses to place an entry whose key file was not made', async () => {
    await expect(ensureCached(entry, async () => {})).rejects.toThrow(/bin\/tool/);
    expect(await findCached(entry)).toBeUndefined();
  });

  it('fills again when a key file is gone or has another size', async () => {
    const folder = await ensureCached(entry, fillTool);
    writeFileSync(join(folder, 'bin', 'tool'), 'cut');
    expect(await findCached(entry)).toBeUndefined();
    await ensureCached(entry, fillTool);
    rmSync(join(folder, 'bin'), { recursive: true });
    await ensureCached(entry, fillTool);
    expect(readFileSync(join(folder, 'bin', 'tool'), 'utf8')).toBe('tool');
  });

  it('lets two callers in one process share one fill', async () => {
    let fills = 0;
    const fill = async (folder: string) => {
      fills++;
      await fillTool(folder);
    };
    const [first, second] = await Promise.all([ensureCached(entry, fill), ensureCached(entry, fill)]);
    expect(first).toBe(second);
    expect(fills).toBe(1);
  });

  it('keeps the entry of the process that was first when several fill it at once', async () => {
    const folder = join(root(), entry.name);
    const result = await ensureCached(entry, async (temporary) => {
      await fillTool(temporary, 'late');
      mkdirSync(join(folder, 'bin'), { recursive: true });
      writeFileSync(join(folder, 'bin', 'tool'), 'early');
      writeFileSync(join(folder, 'softflow-entry.json'), JSON.stringify({ files: { 'bin/tool': 5 } }));
    });
    expect(readFileSync(join(result, 'bin', 'tool'), 'utf8')).toBe('early');
    expect(readdirSync(join(root(), 'tmp'))).toEqual([]);
  });

  it('is whole after four processes filled it at the same time', async () => {
    const script = `
      import { mkdirSync, writeFileSync } from 'node:fs';
      import { ensureCached } from ${JSON.stringify(new URL('../../dist/setup/cache.js', import.meta.url).href)};
      const folder = await ensureCached({ name: 'thing/1.0', keyFiles: ['a'] }, async (target) => {
        for (let i = 0; i < 200; i++) writeFileSync(target + '/f' + i, String(process.pid));
        writeFileSync(target + '/a', 'done');
      });
      process.stdout.write(folder);`;
    const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    const outputs = await Promise.all([run(), run(), run(), run()]);
    const folder = join(root(), 'thing/1.0');
    expect(outputs.map(({ stdout }) => stdout)).toEqual(Array(4).fill(folder));
    const writers = new Set(Array.from({ length: 200 }, (_, i) => readFileSync(join(folder, `f${i}`), 'utf8')));
    expect(writers.size).toBe(1);
    expect(readdirSync(join(root(), 'tmp'))).toEqual([]);
  });

  it('removes temporary folders that are older than a day and keeps younger ones', async () => {
    const old = join(root(), 'tmp', 'old');
    const young = join(root(), 'tmp', 'young');
    mkdirSync(old, { recursive: true });
    mkdirSync(young);
    const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 3600;
    utimesSync(old, twoDaysAgo, twoDaysAgo);
    await ensureCached(entry, fillTool);
    expect(readdirSync(join(root(), 'tmp'))).toEqual(['young']);
  });

  it('says how much space is missing before it starts', async () => {
    const tooLarge = ensureCached({ ...entry, needsBytes: 1e18 }, fillTool);
    await expect(tooLarge).rejects.toMatchObject({
      code: 'NO_SPACE',
      message: expect.stringContaining('1000000000000 MB'),
    });
  });

  it('says what to do when the cache folder cannot be made', async () => {
    writeFileSync(join(root(), 'file'), '');
    process.env['SOFTFLOW_CACHE'] = join(root(), 'file', 'cache');
    await expect(ensureCached(entry, fillTool)).rejects.toMatchObject({
      code: 'CACHE_NOT_WRITABLE',
      message: expect.stringContaining('SOFTFLOW_CACHE'),
    });
  });
});
