// A run from a program: config, server, run, progress, result.
//
//   npm run build && node examples/programmatic-run.mjs [folder of a Hugging Face model]
//
// Works in the current folder (.softflow/), with the server and the workers that `softflow dev` shows.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, ensureEmbedded, openStore, Runs, writeRunView } from 'softflow';
import { smallRun } from './small-run.mjs';

const { target, uiUrl } = await ensureEmbedded();
const client = await connect(target);
const store = await openStore('.softflow/store', { create: true });
const runs = new Runs({ client, store });

const runId = await runs.start(smallRun(process.argv[2]));
console.log(`${runId}, to be seen at ${uiUrl}`);

// Looking is optional: the run goes on when this program ends.
for (let look = await runs.look(runId); look.status.phase === 'running'; look = await runs.look(runId)) {
  console.log(look.status.stage, look.progress[0]?.position ?? '');
  await sleep(2000);
}

const { curriculum } = await runs.result(runId);
for (const { epoch, lambda, distanceAfter } of curriculum) console.log({ epoch, lambda, distanceAfter });
console.log(`written to ${await writeRunView(store, runId, '.softflow/runs')}`);
await client.connection.close();
