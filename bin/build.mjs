#!/usr/bin/env node
// Builds dist/ from the TypeScript sources when it is out of date: `node bin/build.mjs`. With --check it only verifies which
// folder imports which (see check-imports.mjs). Plain JavaScript, because it runs before anything is built.
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, extname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { checkImports } from './check-imports.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const STAMP = '.build-stamp';
/** Files that the sources read at run time and that go to dist/ as they are. */
const COPIED = new Set(['.cjs', '.css', '.html', '.sql', '.svg']);

/**
 * Brings `dist/` up to date with the sources; returns whether it had to. Sources are transpiled only: types are the
 * business of `npm run check`, so that a run never waits for them. Several processes may build at once.
 *
 * @param {string} [root] folder with tsconfig.build.json
 */
export function buildIfStale(root = ROOT) {
  const dist = join(root, 'dist');
  const stamp = sourceStamp(root);
  if (readStamp(dist) === stamp) return false;
  const temporary = join(root, 'dist', `.build-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    transpile(root, temporary);
    correctSourceMaps(temporary);
    copyAssets(root, temporary);
    replaceFiles(temporary, dist);
    writeAtomically(join(dist, STAMP), stamp);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return true;
}

/** Hash of names, times and sizes of everything the build reads. */
export function sourceStamp(root = ROOT) {
  const hash = createHash('sha256').update(process.version);
  for (const file of ['package.json', 'tsconfig.json', 'tsconfig.build.json', ...sourceFiles(root)]) {
    const { mtimeMs, size } = statSync(join(root, file));
    hash.update(`${file}\0${mtimeMs}\0${size}\n`);
  }
  return hash.digest('hex');
}

function readStamp(dist) {
  const file = join(dist, STAMP);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** Paths of the files under the `include` of tsconfig.build.json, relative to the root, sorted. */
function sourceFiles(root) {
  const { include } = JSON.parse(readFileSync(join(root, 'tsconfig.build.json'), 'utf8'));
  return include
    .filter((name) => existsSync(join(root, name)))
    .flatMap((name) => (statSync(join(root, name)).isDirectory() ? filesUnder(root, join(root, name)) : [name]))
    .filter((file) => extname(file) === '.ts' || COPIED.has(extname(file)))
    .sort();
}

function filesUnder(root, folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)));
}

function transpile(root, outDir) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(tsc)) throw new Error(`Cannot build: ${tsc} is missing. Run "npm ci --ignore-scripts" first.`);
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), '--noCheck', '--outDir', outDir];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`The build failed:\n${stdout}${stderr}`);
}

/** The compiler wrote one folder deeper than where its output goes. */
function correctSourceMaps(outDir) {
  for (const file of filesUnder(outDir, outDir).filter((name) => name.endsWith('.map'))) {
    const path = join(outDir, file);
    const map = JSON.parse(readFileSync(path, 'utf8'));
    map.sources = map.sources.map((source) => source.replace('../', ''));
    writeFileSync(path, JSON.stringify(map));
  }
}

function copyAssets(root, outDir) {
  for (const file of sourceFiles(root)) {
    if (!COPIED.has(extname(file))) continue;
    mkdirSync(dirname(join(outDir, file)), { recursive: true });
    writeFileSync(join(outDir, file), readFileSync(join(root, file)));
  }
}

/** Moves what changed file by file, so that a process which is loading dist/ meanwhile never finds it gone. */
function replaceFiles(from, to) {
  const built = new Set(filesUnder(from, from));
  for (const file of built) {
    const target = join(to, file);
    if (existsSync(target) && readFileSync(target).equals(readFileSync(join(from, file)))) continue;
    mkdirSync(dirname(target), { recursive: true });
    renameSync(join(from, file), target);
  }
  for (const file of filesUnder(to, to)) {
    if (!built.has(file) && !file.startsWith('.build-')) rmSync(join(to, file), { force: true });
  }
}

function writeAtomically(file, text) {
  const temporary = `${file}-${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, file);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes('--check')) {
    const faults = checkImports(ROOT);
    for (const fault of faults) console.error(fault);
    process.exitCode = faults.length > 0 ? 1 : 0;
  } else {
    buildIfStale();
  }
}
