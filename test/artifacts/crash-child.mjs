// Saves checkpoint 3 of a step, which drops checkpoint 1, and kills itself on the way: `node crash-child.mjs <store> <k>
// <before|half>`, where k counts the writing file operations from 1. With k 0 it lives and prints their names.
import { saveCheckpoint } from '../../dist/artifacts/checkpoints.js';
import { nodeFileSystem } from '../../dist/artifacts/file-system.js';
import { openStore } from '../../dist/artifacts/store.js';

const [root, k, moment] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const READS = new Set(['readFile', 'readChunks', 'readdir', 'stat', 'realpath']);
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
const blob = Buffer.alloc(100_000, 3);
await saveCheckpoint(store, 'a'.repeat(64), { position: [1, 3, 0], fingerprint: { backend: 'cpu' }, blob });
process.stdout.write(JSON.stringify(operations));
