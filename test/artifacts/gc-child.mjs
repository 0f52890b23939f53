// One of several processes on one store; begins when told to on stdin.
//   node gc-child.mjs write <store> <writer> <blobs>   puts old blobs again and finishes steps with them; prints the keys
//   node gc-child.mjs collect <store> <k>              collects garbage and kills itself at the k-th change; 0: lives
import { once } from 'node:events';
import { nodeFileSystem } from '../../dist/artifacts/file-system.js';
import { collectGarbage } from '../../dist/artifacts/gc.js';
import { openStore } from '../../dist/artifacts/store.js';

const [mode, root, number, blobs] = process.argv.slice(2);

async function write() {
  const store = await openStore(root);
  process.stdout.write('ready\n');
  await once(process.stdin, 'data');
  const keys = [];
  for (let i = 0; i < Number(blobs); i++) {
    const titles = await store.putBytes(Buffer.from(`old ${(i * 7 + Number(number)) % Number(blobs)}`));
    const key = `${number}${i}`.padStart(64, 'e');
    const step = { version: 1, step: 'encodeTitles', contractVersion: 1, key, inputs: {}, params: null };
    await store.writeManifest(key, { ...step, outputs: { titles }, result: null, fingerprint: {} });
    keys.push(key);
  }
  process.stdout.write(JSON.stringify(keys));
}

async function collect() {
  let changes = Number.NEGATIVE_INFINITY;
  const dying = (run) => {
    if (++changes === Number(number)) process.kill(process.pid, 'SIGKILL');
    return run();
  };
  const names = ['link', 'unlink', 'rename', 'touch', 'syncDirectory'];
  const changing = names.map((name) => [name, (...parts) => dying(() => nodeFileSystem[name](...parts))]);
  const store = await openStore(root, { fs: { ...nodeFileSystem, ...Object.fromEntries(changing) } });
  changes = 0;
  process.stdout.write('ready\n');
  await once(process.stdin, 'data');
  await collectGarbage(store);
}

await (mode === 'write' ? write() : collect());
process.exit(0);
