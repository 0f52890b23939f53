// One of several processes that race for `current`: `node promote-child.mjs <store>`. Says "ready"; for each line, a release
// and the number that it expects, it promotes and prints what it was told.
import { createInterface } from 'node:readline';
import { promoteRelease } from '../../dist/artifacts/releases.js';
import { openStore } from '../../dist/artifacts/store.js';

const store = await openStore(process.argv[2]);
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { release, expected } = JSON.parse(line);
  const by = `process ${process.pid}`;
  const { won, current } = await promoteRelease(store, { release, runId: null, expected, by, reason: '', metrics: {} });
  process.stdout.write(`${JSON.stringify({ won, number: current.number, by: current.by, mine: by })}\n`);
}
