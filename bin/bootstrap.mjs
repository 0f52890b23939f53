// What `npm start`, `npm test` and `npm run bench` run on a fresh clone: plain JavaScript without packages, because it installs them.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DEMO = 'recipes/demo.yaml';

/** Whether node_modules holds exactly the versions of package-lock.json (optional packages of other platforms aside). */
export function isInstalled(root) {
  const wanted = readPackages(join(root, 'package-lock.json'));
  const found = readPackages(join(root, 'node_modules', '.package-lock.json'));
  if (!wanted || !found) return false;
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    const there = found[path];
    return there ? there.version === version : optional === true;
  });
}

/**
 * The last line of `npm test`, from vitest's JSON report and the checks before it. A test file that could not be loaded
 * and a runner that failed without a failed test count as one failure each.
 */
export function summarize(report, runnerStatus, failedChecks) {
  const brokenFiles = (report?.testResults ?? []).filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length;
  let failed = failedChecks + brokenFiles + (report?.numFailedTests ?? 0);
  if (runnerStatus !== 0 && failed === failedChecks) failed++;
  return { passed: report?.numPassedTests ?? 0, failed };
}

/** What did not run, a line a group with its reason: "7 skipped: the report in Chromium (skipped, no browser: ...)". */
export function skippedLines(report) {
  const skipped = (report?.testResults ?? [])
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === 'skipped' || status === 'pending');
  const counts = new Map();
  for (const { ancestorTitles, title } of skipped) {
    const group = ancestorTitles?.[0] || title;
    counts.set(group, (counts.get(group) ?? 0) + 1);
  }
  return [...counts].map(([group, count]) => `${count} skipped: ${group}`);
}

function readPackages(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : undefined;
}

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`softflow needs Node.js 20.19 or later, found ${process.version}. Install a current version from nodejs.org.`);
}

function installPackages() {
  if (isInstalled(ROOT)) return;
  console.log('Installing npm packages (install scripts off) ...');
  const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
  const args = [...npm.slice(1), 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, error } = spawnSync(npm[0], args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status === 0) return;
  fail(
    `npm ci failed${error ? ` (${error.message})` : ''}. Check the network and the registry that npm uses ` +
      '(npm config get registry), then run the same command again.',
  );
}

async function build() {
  const { buildIfStale } = await import('./build.mjs');
  if (buildIfStale(ROOT)) console.log('Built dist/.');
}

/** Runs a Node program in the foreground and gives its exit status. */
function node(args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } });
    // The terminal sends Ctrl-C to the child as well: it decides what that means, and this process waits for it.
    const forward = (signal) => child.kill(signal);
    const ignore = () => {};
    process.on('SIGINT', ignore).on('SIGTERM', forward);
    child.on('close', (status, signal) => {
      process.off('SIGINT', ignore).off('SIGTERM', forward);
      resolve(status ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
}

async function start(args) {
  return node([join(ROOT, 'bin', 'softflow.mjs'), 'run', DEMO, ...args]);
}

async function faults(args) {
  return (await setUp()) ? node([join(ROOT, 'bin', 'faults.mjs'), ...args]) : 1;
}

async function bench(args) {
  return node([join(ROOT, 'dist', 'bench', 'main.js'), ...args]);
}

async function test(args) {
  const full = args.includes('--full');
  const filters = args.filter((arg) => arg !== '--full');
  if (!(await setUp())) return finish({ passed: 0, failed: 1 });
  const packages = join(ROOT, 'node_modules');
  let failedChecks = 0;
  for (const [name, command] of [
    ['types', [join(packages, 'typescript', 'bin', 'tsc'), '--noEmit', '-p', ROOT]],
    ['lint', [join(packages, '@biomejs', 'biome', 'bin', 'biome'), 'check', '.']],
    ['imports', [join(ROOT, 'bin', 'build.mjs'), '--check']],
  ]) {
    const status = await node(command);
    console.log(`${name}: ${status === 0 ? 'ok' : 'failed'}`);
    if (status !== 0) failedChecks++;
  }
  const folder = mkdtempSync(join(tmpdir(), 'softflow-test-'));
  try {
    const output = join(folder, 'report.json');
    const vitest = [join(packages, 'vitest', 'vitest.mjs'), 'run', '--reporter=default', '--reporter=json'];
    const status = await node(
      [...vitest, `--outputFile.json=${output}`, ...filters],
      full ? { SOFTFLOW_TEST_FULL: '1' } : {},
    );
    const report = existsSync(output) ? JSON.parse(readFileSync(output, 'utf8')) : undefined;
    for (const line of skippedLines(report)) console.log(line);
    return finish(summarize(report, status, failedChecks));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Everything the tests need in the cache; says what it does in plain lines. */
async function setUp() {
  const { ensureAll } = await import(pathToFileURL(join(ROOT, 'dist', 'setup', 'index.js')).href);
  const { plainReporter } = await import(pathToFileURL(join(ROOT, 'dist', 'setup', 'progress.js')).href);
  const needs = { tensorflow: true, temporal: true, model: { registry: 'smollm2-135m-instruct' }, data: 'ml-100k' };
  try {
    await ensureAll(
      needs,
      plainReporter((line) => console.log(line)),
    );
    return true;
  } catch (error) {
    console.error(error.message);
    return false;
  }
}

function finish({ passed, failed }) {
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

async function main([command, ...args]) {
  const run = { start, test, faults, bench }[command];
  if (!run) fail('Usage: node bin/bootstrap.mjs start|test|faults|bench [--full] [arguments]');
  requireNode();
  installPackages();
  await build();
  return run(args);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main(process.argv.slice(2)).then(
    (status) => {
      process.exitCode = status;
    },
    (error) => fail(error.message),
  );
}
