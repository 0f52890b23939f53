// Saves a checkpoint and kills itself on the way: `node crash-child.mjs <store> <k> <before|half|after> <save.json>
// <blob>`, where k counts the changing file operations from 1. With k 0 it lives and prints their names.
import { readFileSync } from 'node:fs';
import { saveCheckpoint } from '../../../dist/artifacts/checkpoints.js';
import { nodeFileSystem } from '../../../dist/artifacts/file-system.js';
import { openStore } from '../../../dist/artifacts/store.js';

const [root, k, moment] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const { key, position, fingerprint } = JSON.parse(readFileSync(process.argv[5], 'utf8'));
const READS = new Set(['readFile', 'readChunks', 'readdir', 'stat', 'realpath']);
const operations = [];
let opened = false;

function die() {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
}

async function step(name, run, half = die) {
  operations.push(name);
  if (!opened || operations.length !== k) return run();
  if (moment === 'half') await half();
  // An operation may fail on purpose: a name that is taken.
  if (moment === 'after') await run().catch(() => {});
  return die();
}

function killing(file) {
  return {
    write: (bytes) =>
      step(
        'write',
        () => file.write(bytes),
        () => file.write(bytes.subarray(0, bytes.length >> 1)),
      ),
    sync: () => step('sync', () => file.sync()),
    close: () => step('close', () => file.close()),
  };
}

const fs = Object.fromEntries(
  Object.entries(nodeFileSystem).map(([name, run]) => [
    name,
    READS.has(name) ? run : (...parts) => step(name, () => run(...parts)),
  ]),
);
fs.createFile = async (...parts) => killing(await step('createFile', () => nodeFileSystem.createFile(...parts)));

const store = await openStore(root, { fs });
operations.length = 0;
opened = true;
await saveCheckpoint(store, key, { position, fingerprint, blob: readFileSync(process.argv[6]) });
process.stdout.write(JSON.stringify(operations));
