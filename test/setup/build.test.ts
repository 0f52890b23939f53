import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const BUILD = new URL('../../bin/build.mjs', import.meta.url).href;
const ROOT = new URL('../..', import.meta.url).pathname;

interface Build {
  buildIfStale: (root: string) => boolean;
  sourceStamp: (root: string) => string;
}

describe('the build of a clone', () => {
  let folder: string;
  let build: Build;

  beforeEach(async () => {
    build = (await import(BUILD)) as Build;
    folder = mkdtempSync(join(tmpdir(), 'softflow-build-'));
    for (const file of ['package.json', 'tsconfig.json', 'tsconfig.build.json'])
      cpSync(join(ROOT, file), join(folder, file));
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    mkdirSync(join(folder, 'report'));
    source('errors.ts', 'export const answer: number = 42;\n');
    source('report/table.ts', "export { answer } from '../errors.ts';\n");
    source('report/style.css', 'p {}\n');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function source(name: string, text: string): void {
    writeFileSync(join(folder, name), text);
  }

  function built(name: string): string {
    return readFileSync(join(folder, 'dist', name), 'utf8');
  }

  it('builds once, with imports that Node finds and the files the code reads, then not again', async () => {
    expect(build.buildIfStale(folder)).toBe(true);
    expect(built('report/table.js')).toContain("'../errors.js'");
    expect(built('report/style.css')).toBe('p {}\n');
    const { answer } = (await import(join(folder, 'dist', 'report', 'table.js'))) as { answer: number };
    expect(answer).toBe(42);
    expect(JSON.parse(built('report/table.js.map'))).toMatchObject({ sources: ['../../report/table.ts'] });
    expect(build.buildIfStale(folder)).toBe(false);
  });

  it('builds again when a source changes in size, in time, or is new', () => {
    const stamps = [build.sourceStamp(folder)];
    source('errors.ts', 'export const answer: number = 4242;\n');
    stamps.push(build.sourceStamp(folder));
    utimesSync(join(folder, 'errors.ts'), 1, 1);
    stamps.push(build.sourceStamp(folder));
    source('report/new.ts', 'export {};\n');
    stamps.push(build.sourceStamp(folder));
    expect(new Set(stamps).size).toBe(4);
    expect(build.sourceStamp(folder)).toBe(stamps[3]);
  });

  it('removes from dist/ what has no source any more', () => {
    source('report/old.ts', 'export {};\n');
    build.buildIfStale(folder);
    rmSync(join(folder, 'report/old.ts'));
    expect(build.buildIfStale(folder)).toBe(true);
    expect(readdirSync(join(folder, 'dist', 'report')).filter((name) => name.startsWith('old'))).toEqual([]);
  });

  it('keeps the previous dist/ and says where the fault is when a source has a syntax error', () => {
    build.buildIfStale(folder);
    source('errors.ts', 'export const answer: number = ;\n');
    expect(() => build.buildIfStale(folder)).toThrow(/errors\.ts\(1,31\)/);
    expect(built('errors.js')).toContain('42');
    expect(readdirSync(join(folder, 'dist')).filter((name) => name.startsWith('.'))).toEqual(['.build-stamp']);
  });

  it('is whole after three processes built at once', async () => {
    const script = `import { buildIfStale } from ${JSON.stringify(BUILD)}; buildIfStale(${JSON.stringify(folder)});`;
    const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    await Promise.all([run(), run(), run()]);
    expect(built('errors.js')).toContain('42');
    expect(build.buildIfStale(folder)).toBe(false);
    expect(
      readdirSync(join(folder, 'dist'))
        .sort()
        .filter((name) => name.startsWith('.')),
    ).toEqual(['.build-stamp']);
  });
});
