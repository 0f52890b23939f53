// One of several processes that write the same things to one store: `node race-child.mjs <store> <writers>`. Says
// "ready", waits for a line, writes with so many writers at once, prints what each of them was told.
import { once } from 'node:events';
import { saveCheckpoint } from '../../dist/artifacts/checkpoints.js';
import { openStore } from '../../dist/artifacts/store.js';
import { putTile } from '../../dist/artifacts/tiles.js';

const [root, writers] = [process.argv[2], Number(process.argv[3])];
const KEY = 'a'.repeat(64);
const fingerprint = { backend: 'cpu' };
const bytes = Buffer.from('the same bytes from everybody');

const store = await openStore(root, { create: true });
process.stdout.write('ready\n');
await once(process.stdin, 'data');
process.stdin.destroy();

async function write(writer) {
  const name = `${process.pid}-${writer}`;
  const titles = await store.putBytes(bytes);
  const identity = { version: 1, step: 'race', contractVersion: 1, key: KEY, inputs: {}, params: {}, fingerprint };
  const manifest = await store.writeManifest(KEY, { ...identity, outputs: { titles }, result: name });
  const pointer = await store.advanceRef('current', 0, name);
  const checkpoint = await saveCheckpoint(store, KEY, { position: [1, 0, 0], fingerprint, blob: bytes });
  const tile = await putTile(store, KEY, 0, { bytes, meta: name, fingerprint });
  const death = await store.addTelemetry(KEY, name);
  return { name, manifest: manifest.result, pointer, checkpoint: checkpoint.outcome, tile: tile.meta, death };
}

const told = await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
process.stdout.write(`${JSON.stringify(told)}\n`);
