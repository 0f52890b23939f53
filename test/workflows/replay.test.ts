import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { expect, test } from 'vitest';
import { workflowBundle } from '../../workers/workflow-bundle.ts';
import {
  pauseUpdate,
  resumeUntilUpdate,
  resumeUpdate,
  setCurriculumAlphaUpdate,
  statusQuery,
  stopUpdate,
} from '../../workflows/messages.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { historyNames, RECORDING, readHistory, recordHistory } from '../support/histories.ts';
import { startSoft, startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { startTestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

/** A sweep names its runs after itself, so a history is replayed under the id that it was recorded with. */
const replay = async (name: string, history: Awaited<ReturnType<typeof readHistory>>) => {
  const id = history.events[0]?.workflowExecutionStartedEventAttributes?.workflowId || name;
  return Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history, id);
};

test('every recorded history replays with the workflow as it is now (R13)', async (context) => {
  const names = await historyNames();
  expect(names.length).toBeGreaterThanOrEqual(40);
  const failures: string[] = [];
  for (const name of names)
    await replay(name, await readHistory(name)).catch((error: Error) => failures.push(`${name}: ${error.message}`));
  expect(failures).toEqual([]);
  faultFigure(context, names.length, 'recorded histories of every kind');
});

test('a history of another workflow is noticed', async () => {
  const history = await readHistory('completed');
  const scheduled = history.events.find(
    (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'selfDistill',
  );
  Object.assign(scheduled?.activityTaskScheduledEventAttributes?.activityType ?? {}, { name: 'encodeTitles' });
  await expect(replay('completed', history)).rejects.toBeInstanceOf(DeterminismViolationError);
});

/**
 * `SOFTFLOW_RECORD_HISTORIES=1 npx vitest run test/workflows/replay.test.ts` makes those of runs anew as the workflow is now,
 * with look-ups in place; those without that prefix are of before and can only be kept. Those of promotions and retrains come
 * from `promotion-workflow.test.ts` and `retrain-workflow.test.ts` in the same way, that of a schedule's retrain from
 * `client/schedules.test.ts`, that of a run that moved and that of a build from `workers/moves.test.ts`.
 */
test.runIf(RECORDING)('records histories', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-histories-'));
  const server = await startTestServer();
  process.env['STUB_DELAY_MS'] = '50';
  const worker = await startTestWorker(server, join(folder, 'store'), 'record');
  const config = tinyConfig({
    train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 },
    evaluation: { ks: [10], zeroShot: false },
  });
  const record = async (name: string, handle: WorkflowHandle<typeof softWorkflow>, runId?: string) => {
    await handle.result().catch(() => {});
    await recordHistory(server, `in-place-${name}`, handle.workflowId, runId);
  };
  const running = (handle: WorkflowHandle<typeof softWorkflow>, id: string) =>
    until(async () => (await handle.query(statusQuery)).steps.find((step) => step.id === id)?.state === 'running');
  try {
    await record('completed', await startSoft(server, 'record', { config, workflowId: 'completed' }));
    await record('reused', await startSoft(server, 'record', { config, workflowId: 'reused' }));
    const continued = await startSoft(server, 'record', { config, workflowId: 'continued', maxHistoryEvents: 30 });
    await record('continued-first', continued, continued.firstExecutionRunId);
    await record('continued-last', continued);
    const failed = { ...config, evaluation: { ks: [5000] } };
    const part = {
      config,
      workflowId: 'part',
      lastStep: 'test-sft',
      attempts: [{ from: 'sft-1-train', name: 'part.2' }],
    };
    await record('part', await startSoft(server, 'record', part));
    await record('failed', await startSoft(server, 'record', { config: failed, workflowId: 'failed' }));
    const steered = await startSoft(server, 'record', {
      config: { ...config, seed: 3, shards: 2 },
      workflowId: 'steered',
    });
    await running(steered, 'sft-1-train');
    await steered.executeUpdate(pauseUpdate);
    await steered.executeUpdate(setCurriculumAlphaUpdate, { args: [10] });
    await steered.executeUpdate(resumeUpdate);
    await running(steered, 'sft-1-validate');
    await steered.executeUpdate(stopUpdate, { args: [{ after: 'round' }] });
    await record('steered', steered);
    const asFarAs = await startSoft(server, 'record', { config: { ...config, seed: 5 }, workflowId: 'until' });
    await running(asFarAs, 'sft-1-train');
    await asFarAs.executeUpdate(pauseUpdate);
    await asFarAs.executeUpdate(resumeUntilUpdate, { args: ['self-distil'] });
    await record('until', asFarAs);
    const cancelled = await startSoft(server, 'record', { config: { ...config, seed: 4 }, workflowId: 'cancelled' });
    await running(cancelled, 'sft-1-train');
    await cancelled.cancel();
    await record('cancelled', cancelled);
  } finally {
    delete process.env['STUB_DELAY_MS'];
    worker.shutdown();
    await worker.done;
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
