// SOFT in a Temporal worker of your own, beside your own workflows and activities.
//
//   npm run build && node examples/own-worker.mjs [folder of a Hugging Face model]
//
// With TEMPORAL_ADDRESS (or a profile of Temporal's configuration) on that server, else on the embedded one.
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';
import { configuredTarget, connect, ensureEmbedded, SoftflowPlugin } from 'softflow';
import { smallRun } from './small-run.mjs';

const target = configuredTarget() ?? (await ensureEmbedded()).target;
const { namespace, ...server } = target;
const connection = await NativeConnection.connect(server);

const worker = await Worker.create({
  connection,
  namespace,
  taskQueue: 'books-team',
  workflowsPath: fileURLToPath(new URL('./own-workflows.mjs', import.meta.url)),
  activities: { announce: async (text) => console.log(`announced: ${text}`) },
  plugins: [new SoftflowPlugin({ storeRoot: '.softflow/store' })],
});

const client = await connect(target);
// A service would `await worker.run()`; this one ends with its one workflow.
const runId = await worker.runUntil(
  client.workflow.execute('trainAndAnnounce', {
    taskQueue: 'books-team',
    workflowId: `books-${Date.now()}`,
    args: [smallRun(process.argv[2])],
  }),
);
console.log(`finished ${runId}`);
await client.connection.close();
await connection.close();
