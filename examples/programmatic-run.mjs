// A run from a program: config, server, run, progress, result.
//
//   npm run build && node examples/programmatic-run.mjs [folder of a Hugging Face model]
//
// Works in the current folder (.softflow/), with the server and the workers that `softflow dev` shows. Without a folder it
// takes SmolLM2-135M-Instruct; expect a minute or two on two cores.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, defineRun, ensureEmbedded, openStore, Runs, writeRunView } from 'softflow';

const folder = process.argv[2];
const config = defineRun({
  name: 'example',
  model: { source: folder ? { folder } : { registry: 'smollm2-135m-instruct' } },
  data: {
    source: { planted: { series: 10, users: 30, seriesPerUser: 3 } },
    kCore: 1,
    samples: { train: 16, valid: 4, test: 4 },
  },
  train: { batchSize: 4, microBatchSize: 4, maxEpochs: 1, learningRate: 2e-3 },
  soft: { distancePrompts: 4 },
  generation: { maxNewTokens: 8, beamWidth: 2, tileRows: 4 },
  evaluation: { ks: [1, 5, 10] },
});

const { target, uiUrl } = await ensureEmbedded();
const client = await connect(target);
const store = await openStore('.softflow/store', { create: true });
const runs = new Runs({ client, store });

const runId = await runs.start(config);
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
