import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../artifacts/store.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { ONE_PARTITION } from '../../workers/supervisor.ts';
import { workflowBundle } from '../../workers/workflow-bundle.ts';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { historyFigures } from '../support/histories.ts';
import { type LoadFigures, runLoad, type SoftHandle } from '../support/load.ts';
import { cpuSeconds } from '../support/process-figures.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { WorkerProcess } from '../support/worker-process.ts';

const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';
const LOAD = FULL ? { total: 1000, atOnce: 100 } : { total: 30, atOnce: 20 };
/** Histories of so many runs are looked at one by one. */
const SAMPLE = FULL ? 20 : 10;

const folder = mkdtempSync(join(tmpdir(), 'softflow-load-'));
const storeRoot = join(folder, 'store');
let server: TestServer;
let worker: WorkerProcess;
let figures: LoadFigures;
let handles: SoftHandle[];

beforeAll(async () => {
  server = await startTestServer({ database: join(folder, 'temporal.db'), args: [...ONE_PARTITION] });
  const options = { queues: QUEUE_KINDS, log: join(folder, 'worker.log') };
  worker = new WorkerProcess(server, storeRoot, 'load', {}, undefined, options);
});
afterAll(async () => {
  await worker?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('Many runs at once on one worker', () => {
  test('all complete, and the server counts as many as were started (R14)', async (context) => {
    ({ figures, handles } = await runLoad(server, 'load', LOAD));
    const { started, completed, seconds, visible } = figures;
    expect({ started, completed, visible }).toEqual({
      started: LOAD.total,
      completed: LOAD.total,
      visible: { begun: LOAD.total, completed: LOAD.total },
    });
    const trainer = await worker.trainer();
    const used = cpuSeconds(worker.process.pid as number) + cpuSeconds(trainer.pid);
    faultFigure(
      context,
      completed,
      `${LOAD.total} runs, ${LOAD.atOnce} at once: none lost, ${(completed / seconds).toFixed(1)} completions a second ` +
        `(load average ${loadavg()[0]?.toFixed(1)}), ${(used / completed).toFixed(2)} s of processor time a run`,
    );
  });

  test('leave a store without a fault (R14)', async () => {
    expect((await verifyStore(await openStore(storeRoot), { readData: !FULL })).findings).toEqual([]);
  });

  test('keep histories short and payloads small, and replay (R13, R15)', async (context) => {
    const sample = handles.filter((_, i) => i % Math.ceil(handles.length / SAMPLE) === 0);
    let longest = { events: 0, bytes: 0, largestPayload: 0 };
    for (const handle of sample) {
      const history = await handle.fetchHistory();
      const { events, bytes, largestPayload } = historyFigures(history);
      longest = {
        events: Math.max(longest.events, events),
        bytes: Math.max(longest.bytes, bytes),
        largestPayload: Math.max(longest.largestPayload, largestPayload),
      };
      await Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history, handle.workflowId);
    }
    expect(longest.events).toBeLessThanOrEqual(2000);
    expect(longest.bytes).toBeLessThanOrEqual(2 * 2 ** 20);
    expect(longest.largestPayload).toBeLessThanOrEqual(16_384);
    const { events, bytes, largestPayload } = longest;
    faultFigure(
      context,
      sample.length,
      `at most ${events} events, ${bytes} bytes, payloads of ${largestPayload} bytes`,
    );
  });
});
