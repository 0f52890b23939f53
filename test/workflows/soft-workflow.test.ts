import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkflowFailedError, type WorkflowHandle, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { listCheckpoints } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import {
  pauseUpdate,
  resumeUpdate,
  setCurriculumAlphaUpdate,
  statusQuery,
  stopUpdate,
} from '../../workflows/messages.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import type { QueueKind } from '../../workflows/task-queues.ts';
import { releasedFiles, STUB_JOBS, startSoft, startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

const SHUT_DOWN = { taskQueue: 'shut-down', jobsModule: STUB_JOBS };

let server: TestServer;
let folder: string;
const workers: RunningWorker[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-workflow-'));
  server = await startTestServer();
  await openWorker('shared');
});
afterEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('STUB_')) delete process.env[name];
});
afterAll(async () => {
  for (const worker of workers) worker.shutdown();
  await Promise.all(workers.map((worker) => worker.done));
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A worker of its own queues and its own store. */
async function openWorker(name: string): Promise<void> {
  workers.push(await startTestWorker(server, join(folder, name), name));
}
const storeOf = (name: string): Promise<Store> => openStore(join(folder, name));
const states = ({ steps }: RunStatus) => Object.fromEntries(steps.map(({ id, state }) => [id, state]));
const keys = ({ steps }: RunStatus) => Object.fromEntries(steps.map(({ id, key }) => [id, key]));

async function failureOf(handle: WorkflowHandle<typeof softWorkflow>): Promise<ApplicationFailure> {
  const error = await handle.result().catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  const { cause } = error as WorkflowFailedError;
  expect(cause).toBeInstanceOf(ApplicationFailure);
  return cause as ApplicationFailure;
}

describe('a run', () => {
  let first: RunStatus;
  let firstFiles: Record<string, string>;

  test('takes the steps of the method in order and releases their results', async () => {
    first = await (await startSoft(server, 'shared')).result();
    expect(first.phase).toBe('completed');
    expect(first.steps.map(({ id, state }) => `${id} ${state}`)).toEqual([
      'prepare run',
      'encode run',
      'sft-1-train run',
      'sft-1-validate run',
      'sft-2-train run',
      'sft-2-validate run',
      'self-distil run',
      'soft-0-distance run',
      'soft-1-train run',
      'soft-1-distance run',
      'soft-1-validate run',
      'soft-2-train run',
      'soft-2-distance run',
      'soft-2-validate run',
      'test-popularity run',
      'test-zeroShot run',
      'test-sft run',
      'test-soft run',
      'release run',
      'report run',
    ]);
    firstFiles = await releasedFiles(await storeOf('shared'), first);
    expect(Object.keys(firstFiles).sort()).toEqual([
      'adapter/README.md',
      'adapter/adapter_config.json',
      'adapter/adapter_model.safetensors',
      'lineage.json',
      'metrics.json',
      'report.html',
      'run.json',
      'summary.json',
      'telemetry.json',
    ]);
  });

  test('lets the distance set lambda, beginning with 1', () => {
    const [one, two] = first.curriculum;
    expect(one).toMatchObject({ epoch: 1, lambda: 1, distance: first.initialDistance });
    expect(two?.distance).toBe(one?.distanceAfter);
    const ratio = (two?.distance as number) / (first.initialDistance as number);
    expect(ratio).toBeLessThan(1);
    expect(two?.lambda).toBeCloseTo(Math.exp(ratio - 1), 12);
  });

  test('writes metrics with every model, chance, the curriculum and the digests', () => {
    const metrics = JSON.parse(firstFiles['metrics.json'] ?? '');
    for (const model of ['popularity', 'zeroShot', 'sft', 'soft']) {
      expect(Object.keys(metrics.models[model].test.hr)).toEqual(['1', '5', '10']);
      expect(metrics.models[model].test.windows).toBe(12);
    }
    expect(metrics.models.soft.test).toHaveProperty('existingTitles');
    expect(metrics.models.chance.hr['10']).toBeGreaterThan(0);
    expect(metrics.curriculum.map(({ epoch }: { epoch: number }) => epoch)).toEqual([1, 2]);
    expect(metrics.digests.softAdapter).toMatch(/^[0-9a-f]{64}$/);
    expect(metrics.digests.softAdapter).not.toBe(metrics.digests.sftAdapter);
  });

  test('of the same config reuses every step and releases the same bytes', async () => {
    const again = await (await startSoft(server, 'shared')).result();
    const { report, ...others } = states(again);
    expect(report).toBe('run');
    expect(new Set(Object.values(others))).toEqual(new Set(['reused']));
    const files = await releasedFiles(await storeOf('shared'), again);
    expect(files['metrics.json']).toBe(firstFiles['metrics.json']);
    expect(files['lineage.json']).toBe(firstFiles['lineage.json']);
  });

  test('of another curriculumAlpha reuses SFT, self-distillation and the first round', async () => {
    const config = tinyConfig({ soft: { curriculumAlpha: 10, distancePrompts: 8 } });
    const other = states(await (await startSoft(server, 'shared', { config })).result());
    const begun = Object.entries(other).filter(([, state]) => state === 'run');
    expect(begun.map(([id]) => id).slice(0, 3)).toEqual(['soft-2-train', 'soft-2-distance', 'soft-2-validate']);
  });

  test('gives the same bytes when its history is continued as new', async () => {
    const handle = await startSoft(server, 'shared', { maxHistoryEvents: 12 });
    const status = await handle.result();
    expect(await releasedFiles(await storeOf('shared'), status)).toMatchObject({
      'metrics.json': firstFiles['metrics.json'],
      'lineage.json': firstFiles['lineage.json'],
    });
    const firstPart = await server.client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId).describe();
    expect(firstPart.status.name).toBe('CONTINUED_AS_NEW');
    expect((await handle.describe()).historyLength).toBeLessThan(40);
  });

  test('gives the same bytes over three shards', async () => {
    await openWorker('sharded');
    const status = await (await startSoft(server, 'sharded', { config: tinyConfig({ shards: 3 }) })).result();
    expect(keys(status)).toMatchObject({ encode: keys(first)['encode'], 'test-soft': keys(first)['test-soft'] });
    const files = await releasedFiles(await storeOf('sharded'), status);
    expect(files['metrics.json']).toBe(firstFiles['metrics.json']);
  });

  test('stops a stage after two epochs without a better one and goes on with the best', async () => {
    const config = tinyConfig({ train: { maxEpochs: 6, patience: 2, batchSize: 8, microBatchSize: 4 }, seed: 7 });
    const status = await (await startSoft(server, 'shared', { config })).result();
    for (const rows of [status.sft, status.curriculum]) {
      const values = rows.map(({ validation }) => validation.hr['10'] as number);
      const best = values.indexOf(Math.max(...values)) + 1;
      expect(rows.length).toBe(Math.min(6, best + 2));
    }
    expect(Object.values(states(status))).not.toContain('pending');
  });

  test('goes on after a fault that passes', async () => {
    process.env['STUB_FAIL_ONCE'] = 'trainEpoch, micro-batch 7';
    await openWorker('failing');
    const status = await (await startSoft(server, 'failing')).result();
    expect((await releasedFiles(await storeOf('failing'), status))['metrics.json']).toBe(firstFiles['metrics.json']);
  });
});

describe('a run that cannot succeed ends with a code', () => {
  test('for a config that is not valid, naming every fault', async () => {
    const config = { ...tinyConfig(), trian: {}, lora: { rank: 0 } };
    const failure = await failureOf(await startSoft(server, 'shared', { config }));
    expect(failure).toMatchObject({ type: 'CONFIG_INVALID', nonRetryable: true });
    expect(failure.message).toContain('trian');
    expect(failure.message).toContain('rank');
  });

  test('for a K larger than the catalogue', async () => {
    const config = tinyConfig({ evaluation: { ks: [1, 5000] } });
    const failure = await failureOf(await startSoft(server, 'shared', { config }));
    expect(failure.type).toBe('CATALOGUE_TOO_SMALL');
    expect(failure.message).toContain('5000');
  });

  test('for a step whose shards have all ended without a whole, which can be resumed', async () => {
    process.env['STUB_FORGET'] = 'measureDistance';
    await openWorker('forgetful');
    const failure = await failureOf(await startSoft(server, 'forgetful'));
    expect(failure).toMatchObject({ type: 'STEP_INCOMPLETE', nonRetryable: true });
    expect(failure.message).toMatch(/All shards of ".*distance.*" have ended.*Resume the run/i);
  });

  test('for a base model that makes no mistakes, and says so in the status and in the store', async () => {
    process.env['STUB_DISTANCE'] = '0';
    await openWorker('zero');
    const handle = await startSoft(server, 'zero');
    expect(await failureOf(handle)).toMatchObject({ type: 'DISTANCE_ZERO', nonRetryable: true });
    const status = await handle.query(statusQuery);
    expect(status).toMatchObject({ phase: 'failed', error: { code: 'DISTANCE_ZERO' } });
    const record = await (await storeOf('zero')).readRunRecord(handle.workflowId, 'status');
    expect(record?.value).toMatchObject({ phase: 'failed', error: { code: 'DISTANCE_ZERO' } });
  });
});

describe('messages', () => {
  /** The step in progress is held where it has a checkpoint behind it. */
  const held = (stage: string, epoch: number) =>
    new Hold(join(folder, 'paused'), { step: 'trainEpoch', stage, epoch, position: 'micro-batch 6' });

  test('pause drains the step in progress, resume goes on from its checkpoint', async () => {
    await openWorker('paused');
    const hold = held('sft', 1);
    const handle = await startSoft(server, 'paused');
    await hold.reached();
    expect(await handle.executeUpdate(pauseUpdate)).toMatchObject({ phase: 'paused' });
    await expect(handle.executeUpdate(pauseUpdate)).rejects.toBeInstanceOf(WorkflowUpdateFailedError);
    await until(async () => ((await handle.describe()).raw.pendingActivities ?? []).length === 0);
    const key = keys(await handle.query(statusQuery))['sft-1-train'] as string;
    const store = await storeOf('paused');
    expect(await listCheckpoints(store, key)).not.toHaveLength(0);
    await handle.executeUpdate(resumeUpdate);
    await handle.executeUpdate(stopUpdate, { args: [{ after: 'round' }] });
    hold.release();
    const status = await handle.result();
    expect(status.phase).toBe('stopped');
    expect(status.sft).toHaveLength(1);
    const telemetry = (await store.readTelemetry(key)) as { resumes: number }[];
    expect(telemetry.at(-1)?.resumes).toBe(1);
  });

  test('pause holds a run also when its worker shuts down before it hears of it', async () => {
    const storeRoot = join(folder, 'shut-down');
    const open = async (queues: QueueKind[]) => {
      const worker = await startWorker({ ...SHUT_DOWN, target: server.target, queues, storeRoot });
      workers.push(worker);
      return worker;
    };
    await open(['workflow']);
    const computing = await open(['cpu', 'gpu']);
    const hold = new Hold(storeRoot, { step: 'trainEpoch', stage: 'sft', epoch: 1, position: 'micro-batch 6' });
    const handle = await startSoft(server, SHUT_DOWN.taskQueue);
    await hold.reached();
    await handle.executeUpdate(pauseUpdate);
    computing.shutdown();
    await computing.done;
    await until(async () => ((await handle.describe()).raw.pendingActivities ?? []).length === 0);
    expect(await handle.query(statusQuery)).toMatchObject({ phase: 'paused' });
    await handle.executeUpdate(stopUpdate, { args: [{ after: 'now' }] });
    expect(await handle.result()).toMatchObject({ phase: 'stopped' });
  });

  test('stop now keeps what is done, and the same run goes on later', async () => {
    const hold = held('sft', 2);
    const handle = await startSoft(server, 'paused', { workflowId: 'tiny-stopped' });
    await hold.reached();
    await handle.executeUpdate(stopUpdate, { args: [{ after: 'now' }] });
    expect(await handle.result()).toMatchObject({ phase: 'stopped' });
    hold.release();
    const next = held('soft', 1);
    const again = await startSoft(server, 'paused', { workflowId: 'tiny-stopped' });
    await next.reached();
    expect(states(await again.query(statusQuery))).toMatchObject({ 'sft-1-train': 'reused', 'sft-2-train': 'run' });
    await again.cancel();
    await expect(again.result()).rejects.toBeInstanceOf(WorkflowFailedError);
    expect(await again.query(statusQuery)).toMatchObject({ phase: 'cancelled' });
    next.release();
  });

  test('setCurriculumAlpha counts from the next round on, and refuses what is no number', async () => {
    const hold = held('sft', 1);
    const handle = await startSoft(server, 'paused', { config: tinyConfig({ seed: 9 }) });
    await expect(handle.executeUpdate(setCurriculumAlphaUpdate, { args: [-1] })).rejects.toThrow();
    expect(await handle.executeUpdate(setCurriculumAlphaUpdate, { args: [100] })).toMatchObject({
      curriculumAlpha: 100,
    });
    await handle.executeUpdate(stopUpdate, { args: [{ after: 'now' }] });
    await handle.result();
    hold.release();
  });
});
