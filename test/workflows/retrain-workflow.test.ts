import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ReleaseParams } from '../../activities/contracts.ts';
import { currentRelease } from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { Runs } from '../../client/runs.ts';
import { Sweeps } from '../../client/sweeps.ts';
import { decodeWindows } from '../../datasets/tables.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { promotionQuery } from '../../workflows/promotion-messages.ts';
import { promotionId } from '../../workflows/promotion-state.ts';
import type { RetrainStatus } from '../../workflows/retrain-state.ts';
import type { retrainWorkflow } from '../../workflows/retrain-workflow.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { ALWAYS, GrowingCsv, NEVER_BETTER } from '../support/growing-csv.ts';
import { RECORDING, recordHistory } from '../support/histories.ts';
import { startTestWorker } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

let server: TestServer;
let folder: string;
let worker: RunningWorker;
let store: Store;
let csv: GrowingCsv;
let receiver: Server;
const told: Record<string, unknown>[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-retrain-'));
  csv = new GrowingCsv(folder, '2026-03-01T00:00:00Z');
  csv.append(14);
  receiver = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      told.push(JSON.parse(Buffer.concat(parts).toString()) as Record<string, unknown>);
      response.end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  process.env['RETRAIN_TEST_WEBHOOK'] = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  server = await startTestServer();
  worker = await startTestWorker(server, join(folder, 'store'), 'retrain');
  store = await openStore(join(folder, 'store'));
});
afterAll(async () => {
  if (RECORDING) for (const [name, workflowId] of RECORDED) await recordHistory(server, name, workflowId);
  worker?.shutdown();
  await worker?.done;
  await server?.stop();
  receiver?.close();
  delete process.env['RETRAIN_TEST_WEBHOOK'];
  await rm(folder, { recursive: true, force: true });
});

/** What `SOFTFLOW_RECORD_HISTORIES=1` keeps for replay, by the order of the starts below. */
const RECORDED = [
  ['retrain-promoted', 'nightly-1'],
  ['retrain-skipped', 'nightly-2'],
  ['retrain-kept', 'nightly-3'],
  ['retrain-warm-start', 'nightly-5'],
  ['retrain-too-few-windows', 'nightly-6'],
  ['retrain-waiting', 'nightly-7'],
  ['retrain-drift', 'nightly-9'],
  ['retrain-unreadable', 'nightly-10'],
] as const;
let starts = 0;
function retrain(asOf: string, config: Partial<RunConfigInput> = {}): Promise<RetrainStatus> {
  const notify = { webhook: { urlEnv: 'RETRAIN_TEST_WEBHOOK' } };
  return server.client.workflow.execute<typeof retrainWorkflow>('retrainWorkflow', {
    taskQueue: 'retrain',
    workflowId: `nightly-${++starts}`,
    args: [{ config: csv.config({ notify, ...config }), schedule: 'nightly', asOf, heartbeatTimeoutSeconds: 3 }],
  });
}

async function failureOf(started: Promise<unknown>): Promise<ApplicationFailure> {
  const error = await started.catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  expect((error as WorkflowFailedError).cause).toBeInstanceOf(ApplicationFailure);
  return (error as WorkflowFailedError).cause as ApplicationFailure;
}

const statusOf = async (runId: string) => (await store.readRunRecord(runId, 'status'))?.value as RunStatus;
const keyOf = async (runId: string, id: string) =>
  (await statusOf(runId)).steps.find((step) => step.id === id)?.key as string;

/** Instants of the targets of a table of windows. */
async function targets(runId: string, name: string): Promise<string[]> {
  const prepared = await store.readManifest(await keyOf(runId, 'prepare'));
  const windows = decodeWindows(await store.getBytes(prepared!.outputs[name]!));
  return windows.map(({ targetTimeMs }) => new Date(Number(targetTimeMs)).toISOString()).sort();
}

describe('a retrain', () => {
  let first: RetrainStatus;

  test('trains on what was there at its time, and promotes the first release that beats popularity', async () => {
    first = await retrain('2026-03-11T00:00:00Z');
    expect(first).toMatchObject({
      phase: 'ended',
      outcome: 'promoted',
      champion: null,
      warmStart: null,
      asOf: '2026-03-11T00:00:00.000Z',
      trainUntil: '2026-03-09T00:00:00.000Z',
      testAfter: '2026-03-09T00:00:00.000Z',
      windows: { train: 24, valid: 8, test: 60 },
    });
    expect(first.runId).toMatch(/^nightly-20260311t000000z-[0-9a-f]{4}$/);
    expect(first.reason).toContain('against popularity');
    expect(await currentRelease(store)).toMatchObject({ number: 1, release: first.challenger, by: 'schedule nightly' });
    const trained = [...(await targets(first.runId, 'windowsTrain')), ...(await targets(first.runId, 'windowsValid'))];
    const tested = await targets(first.runId, 'windowsTest');
    expect(trained.every((time) => time <= first.trainUntil)).toBe(true);
    expect(tested.every((time) => time > first.trainUntil && time <= first.asOf)).toBe(true);
    expect(told.at(-1)).toMatchObject({ event: 'promoted', schedule: 'nightly', runId: first.runId });
  });

  test('is a run like any other beside its own record, with the cut-offs in its lineage', async () => {
    expect(await new Runs({ store }).list()).toEqual([first.runId]);
    expect((await store.readRunRecord(first.runId, 'retrain'))?.value).toEqual(first);
    const release = await store.readManifest(first.challenger as string);
    const { data } = (release!.params as ReleaseParams).config as { data: Record<string, unknown> };
    expect(data).toMatchObject({ asOf: first.asOf, trainUntil: first.trainUntil, testAfter: first.testAfter });
  });

  test('with nothing new is skipped: it tells nobody and trains nothing', async () => {
    const before = told.length;
    const skipped = await retrain('2026-03-11T06:00:00Z');
    expect(skipped).toMatchObject({ outcome: 'skipped', windowsDigest: first.windowsDigest });
    expect(skipped.reason).toContain('0 new windows');
    expect(await store.readRunRecord(skipped.runId, 'status')).toBeUndefined();
    expect(await new Runs({ store }).list()).toEqual([first.runId]);
    expect(told.length).toBe(before);
  });

  test('of a changed recipe is not skipped, and keeps a champion that it does not beat', async () => {
    const kept = await retrain('2026-03-11T06:00:00Z', { seed: 5, promote: NEVER_BETTER });
    expect(kept).toMatchObject({ outcome: 'kept', champion: first.challenger });
    expect(kept.figures).toMatchObject({ opponent: 'champion', minGain: 1 });
    expect((await currentRelease(store))?.number).toBe(1);
    expect(told.at(-1)).toMatchObject({ event: 'kept', champion: first.challenger, challenger: kept.challenger });
  });

  test('tests both on windows that neither has learnt from', async () => {
    const early = await retrain('2026-03-12T00:00:00Z', { retrain: { evalSpan: '4d' }, promote: NEVER_BETTER });
    expect(early).toMatchObject({ trainUntil: '2026-03-08T00:00:00.000Z', testAfter: '2026-03-09T00:00:00.000Z' });
    expect((await targets(early.runId, 'windowsTest')).every((time) => time > '2026-03-09T00:00:00.000Z')).toBe(true);
  });

  test('may start SFT from the champion, and its lineage says so', async () => {
    const { challenger, ...warm } = await retrain('2026-03-13T00:00:00Z', {
      retrain: { evalSpan: '2d', warmStart: true },
      promote: ALWAYS,
    });
    expect(warm).toMatchObject({ outcome: 'promoted', warmStart: first.challenger, champion: first.challenger });
    expect(await currentRelease(store)).toMatchObject({ number: 2, release: challenger, from: first.challenger });
    const trained = await store.readManifest(await keyOf(warm.runId, 'sft-1-train'));
    const adapter = (await store.readManifest(first.challenger as string))?.outputs[
      'adapter/adapter_model.safetensors'
    ];
    expect(trained?.inputs['warmStart']).toBe(adapter?.sha256);
    const release = await store.readManifest(challenger as string);
    expect((release!.params as ReleaseParams).config).toMatchObject({
      sft: { warmStart: { release: first.challenger } },
    });
  });

  test('with too few windows to judge by keeps the champion before anything is trained', async () => {
    const kept = await retrain('2026-03-14T00:00:00Z', { promote: { ...ALWAYS, minWindows: 10_000 } });
    expect(kept).toMatchObject({ outcome: 'kept', reason: expect.stringContaining('too few windows') });
    expect(await store.readRunRecord(kept.runId, 'status')).toBeUndefined();
  });

  test('leaves the decision to a person and does not wait for it', async () => {
    const waiting = await retrain('2026-03-14T00:00:00Z', { promote: { ...ALWAYS, mode: 'manual' } });
    expect(waiting.outcome).toBe('waiting');
    const question = await server.client.workflow.getHandle(promotionId(waiting.runId)).query(promotionQuery);
    expect(question).toMatchObject({ phase: 'waiting', runId: waiting.runId });
    const next = await retrain('2026-03-15T00:00:00Z', { promote: { ...ALWAYS, mode: 'never' } });
    expect(next).toMatchObject({ outcome: 'kept', reason: expect.stringContaining('promote.mode is never') });
    expect((await currentRelease(store))?.number).toBe(2);
  });
});

describe('a retrain fails', () => {
  test('when the new data has drifted, and says how far', async () => {
    const shrunk = new GrowingCsv(await mkdtemp(join(folder, 'shrunk-')), '2026-03-01T00:00:00Z');
    shrunk.append(16, 12);
    const failure = await failureOf(retrain('2026-03-15T00:00:00Z', { data: shrunk.config().data }));
    expect(failure).toMatchObject({ type: 'DRIFT', nonRetryable: true });
    expect(failure.message).toContain('fewer users (30 -> 12): 60.0 %, allowed 30.0 %');
    expect(told.at(-1)).toMatchObject({ event: 'failed', error: { code: 'DRIFT' } });
    expect((await currentRelease(store))?.number).toBe(2);
  });

  test('when its source stays unreadable, with the place', async () => {
    await rename(csv.interactions, `${csv.interactions}.away`);
    const failure = await failureOf(retrain('2026-03-15T00:00:00Z'));
    await rename(`${csv.interactions}.away`, csv.interactions);
    expect(failure.type).toMatch(/^DATA_/);
    expect(failure.message).toContain(csv.interactions);
  });

  test('when its training fails, with the code of the run', async () => {
    const failure = await failureOf(retrain('2026-03-15T00:00:00Z', { evaluation: { ks: [5000], zeroShot: false } }));
    expect(failure.type).toBe('CATALOGUE_TOO_SMALL');
    process.env['STUB_DISTANCE'] = '0';
    const other = await startTestWorker(server, join(folder, 'store'), 'retrain-zero');
    const lost = await failureOf(
      server.client.workflow.execute<typeof retrainWorkflow>('retrainWorkflow', {
        taskQueue: 'retrain-zero',
        workflowId: 'nightly-zero',
        args: [{ config: csv.config({ seed: 77 }), asOf: '2026-03-15T00:00:00Z' }],
      }),
    );
    delete process.env['STUB_DISTANCE'];
    other.shutdown();
    await other.done;
    expect(lost).toMatchObject({ type: 'DISTANCE_ZERO', message: expect.stringContaining('Training in run nightly-') });
  });

  test('for a recipe or a time that makes no sense', async () => {
    expect(await failureOf(retrain('yesterday'))).toMatchObject({ type: 'CONFIG_INVALID' });
    expect(await failureOf(retrain('2026-03-15T00:00:00Z', { seed: -1 }))).toMatchObject({ type: 'CONFIG_INVALID' });
  });
});

test('rows that arrive late or are torn do not change what an earlier date trained on', async () => {
  const config = { seed: 8, promote: NEVER_BETTER };
  const before = await retrain('2026-03-13T00:00:00Z', config);
  const text = await readFile(csv.interactions, 'utf8');
  csv.append(3);
  await writeFile(csv.interactions, `${await readFile(csv.interactions, 'utf8')}u1,3`);
  const after = await retrain('2026-03-13T00:00:00Z', config);
  await writeFile(csv.interactions, text);
  expect(after).toMatchObject({ windowsDigest: before.windowsDigest, windows: before.windows });
  expect(after.challenger).toBe(before.challenger);
});

test('may be a sweep: all its runs train on the data of the night, the best is the challenger', async () => {
  const runs = [1, 10].map((alpha) => ({ 'soft.curriculumAlpha': alpha }));
  const swept = await server.client.workflow.execute<typeof retrainWorkflow>('retrainWorkflow', {
    taskQueue: 'retrain',
    workflowId: 'nightly-sweep',
    args: [
      {
        config: csv.config({ seed: 91, soft: { maxEpochs: 2, distancePrompts: 8 }, promote: ALWAYS }),
        schedule: 'nightly',
        asOf: '2026-03-12T00:00:00Z',
        sweep: { runs, maxParallel: 2, earlyStop: true },
        heartbeatTimeoutSeconds: 3,
      },
    ],
  });
  expect(swept).toMatchObject({ outcome: 'promoted', asOf: '2026-03-12T00:00:00.000Z' });
  expect(swept.runId).toMatch(new RegExp(`^${swept.sweepId}-[12]$`));
  expect(await currentRelease(store)).toMatchObject({ release: swept.challenger, runId: swept.runId });
  const sweep = await new Sweeps({ store }).look(swept.sweepId as string);
  expect(sweep.status).toMatchObject({ phase: 'completed', best: swept.runId });
  const [first, second] = sweep.status.runs.map(({ runId }) => runId) as [string, string];
  expect(await keyOf(second, 'prepare')).toBe(await keyOf(first, 'prepare'));
  for (const runId of [first, second])
    expect(await new Runs({ store }).config(runId)).toMatchObject({ data: { asOf: swept.asOf } });
});
