import { installRuntime, type SoftflowWorkerOptions, startWorker } from './worker.ts';

/** A worker as a process of its own; its options are the one JSON argument. Ends gracefully at SIGTERM. */
installRuntime();
const worker = await startWorker(JSON.parse(process.argv[2] ?? '{}') as SoftflowWorkerOptions);
await worker.done;
