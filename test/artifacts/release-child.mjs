// Makes, promotes or rolls back a release and kills itself on the way: `node release-child.mjs <store> <release|promote|
// rollback> <k> <before|half>`, where k counts the writing file operations of the whole process from 1, the folder for
// servers included. With k 0 it lives and prints their names.
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const [root, action, k, moment] = [process.argv[2], process.argv[3], Number(process.argv[4]), process.argv[5]];
const operations = [];

function die() {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
}

async function step(name, run, half = die) {
  operations.push(name);
  if (operations.length !== k) return run();
  if (moment === 'half') await half();
  return die();
}

// Before anything of softflow is loaded, which keeps what it finds here.
for (const name of ['link', 'unlink', 'rename', 'mkdir', 'symlink', 'rm']) {
  const original = fs[name];
  fs[name] = (...parts) => step(name, () => original(...parts));
}
const { open } = fs;
fs.open = async (path, flags, ...mode) => {
  const handle =
    flags === 'wx' ? await step('create', () => open(path, flags, ...mode)) : await open(path, flags, ...mode);
  const [write, sync, close] = ['writeFile', 'sync', 'close'].map((name) => handle[name].bind(handle));
  handle.writeFile = (bytes) =>
    step(
      'write',
      () => write(bytes),
      () => write(bytes.subarray(0, bytes.length >> 1)),
    );
  handle.sync = () => step('sync', sync);
  handle.close = () => (flags === 'wx' ? step('close', close) : close());
  return handle;
};
syncBuiltinESMExports();

const { promoteRun } = await import('../../dist/artifacts/decisions.js');
const { writeReleaseView } = await import('../../dist/artifacts/release-view.js');
const { rollbackRelease } = await import('../../dist/artifacts/releases.js');
const { openStore } = await import('../../dist/artifacts/store.js');

const keyOf = (name) => createHash('sha256').update(`release ${name}`).digest('hex');

async function release(store, name) {
  const outputs = {
    'adapter/adapter_model.safetensors': await store.putBytes(Buffer.alloc(100_000, name)),
    'metrics.json': await store.putBytes(Buffer.from(`{"name":"${name}"}`)),
  };
  const identity = { version: 1, step: 'release', contractVersion: 1, key: keyOf(name), inputs: {}, params: {} };
  await store.writeManifest(keyOf(name), { ...identity, outputs, result: null, fingerprint: {} });
}

async function promote(store) {
  const input = { release: keyOf('new'), runId: 'run-new', expected: 1, by: 'child', reason: 'better', metrics: {} };
  await promoteRun(store, { ...input, request: 'the same for every attempt' });
  await writeReleaseView(store);
}

async function rollback(store) {
  await rollbackRelease(store, { by: 'child', reason: 'worse' });
  await writeReleaseView(store);
}

const store = await openStore(root);
if (action === 'release') await release(store, 'new');
if (action === 'promote') await promote(store);
if (action === 'rollback') await rollback(store);
process.stdout.write(JSON.stringify(operations));
