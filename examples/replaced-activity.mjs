// One step computed by code of your own: the popularity baseline ranks by what the tested people have in their histories.
//
//   npm run build && node examples/replaced-activity.mjs [folder of a Hugging Face model]
//
// Everything that does not depend on the step is reused from earlier runs: start it after programmatic-run.mjs and see.
import {
  configuredTarget,
  connect,
  decodeItems,
  decodeTitles,
  decodeWindows,
  encodePredictions,
  ensureEmbedded,
  openStore,
  popularityRanks,
  predictionMetrics,
  Runs,
  startWorker,
  writeRunView,
} from 'softflow';
import { smallRun } from './small-run.mjs';

/** @type {import('softflow').StepBody<'evaluatePopularity'>} */
async function evaluateRecentPopularity(store, { inputs, params }) {
  const items = decodeItems(await store.getBytes(inputs.items));
  const counts = decodeTitles(await store.getBytes(inputs.titles)).map(() => 0);
  const windows = decodeWindows(await store.getBytes(inputs.windows));
  for (const item of windows.flatMap(({ history }) => history)) counts[items[item].titleRow]++;
  const ranks = popularityRanks(counts);
  const nearest = ranks.indexOf(Math.min(...ranks));
  const predictions = windows.map(({ windowId, target }) => {
    const { titleRow } = items[target];
    return {
      windowId,
      targetRow: titleRow,
      text: '',
      rank: ranks[titleRow],
      distance: 0,
      nearest,
      exists: false,
      valid: true,
    };
  });
  const table = { rows: predictions.length, schema: 'predictions' };
  return {
    outputs: { predictions: await store.putBytes(encodePredictions(predictions), table) },
    result: predictionMetrics(predictions, params.ks, false),
  };
}

const target = configuredTarget() ?? (await ensureEmbedded()).target;
const store = await openStore('.softflow/store', { create: true });
const worker = await startWorker({
  target,
  queues: ['workflow', 'cpu', 'gpu'],
  taskQueue: 'recent-popularity',
  storeRoot: store.root,
  replace: { evaluatePopularity: { contractVersion: 1000, compute: evaluateRecentPopularity } },
});

const client = await connect(target);
const runs = new Runs({ client, store, taskQueue: 'recent-popularity' });
const { runId, steps } = await runs.result(await runs.start(smallRun(process.argv[2])));
console.log(`${steps.filter(({ state }) => state === 'reused').length} of ${steps.length} steps were reused`);
console.log(`written to ${await writeRunView(store, runId, '.softflow/runs')}`);
await client.connection.close();
worker.shutdown();
await worker.done;
