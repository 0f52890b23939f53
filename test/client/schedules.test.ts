import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { currentRelease } from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import type { Overlap } from '../../client/schedule-spec.ts';
import type { ScheduledRun } from '../../client/scheduled-runs.ts';
import { Schedules } from '../../client/schedules.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import type { retrainWorkflow } from '../../workflows/retrain-workflow.ts';
import { type RunConfig, type RunConfigInput, RunConfigSchema } from '../../workflows/run-config.ts';
import { ALWAYS, GrowingCsv, NEVER_BETTER } from '../support/growing-csv.ts';
import { RECORDING, recordHistory } from '../support/histories.ts';
import { startTestWorker } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

const PATIENCE_SECONDS = 120;
const SCHEDULED_START = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME);

let server: TestServer;
let folder: string;
let worker: RunningWorker;
let store: Store;
let schedules: Schedules;
let csv: GrowingCsv;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-schedules-'));
  csv = new GrowingCsv(folder, '2026-03-01T00:00:00Z');
  csv.append(14);
  server = await startTestServer({ database: join(folder, 'temporal.db') });
  worker = await startTestWorker(server, join(folder, 'store'), 'schedules');
  store = await openStore(join(folder, 'store'));
  schedules = new Schedules({ client: server.client, store, taskQueue: 'schedules', heartbeatTimeoutSeconds: 3 });
});
afterAll(async () => {
  worker?.shutdown();
  await worker?.done;
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const config = (change: Partial<RunConfigInput> = {}): RunConfig => RunConfigSchema.parse(csv.config(change));
/** Ends before it trains: too few windows, whatever the time. */
const quick = () => config({ promote: { ...ALWAYS, minWindows: 1_000_000 } });
const runsOf = async (name: string): Promise<ScheduledRun[]> => (await schedules.describe(name)).runs;
const untilRuns = async (name: string, holds: (runs: ScheduledRun[]) => boolean) => {
  let last: ScheduledRun[] = [];
  await until(async () => {
    last = await runsOf(name);
    return holds(last);
  }, PATIENCE_SECONDS);
  return last;
};
const states = (runs: readonly ScheduledRun[]) => runs.map(({ state }) => state);

describe('a schedule', () => {
  test('is a Temporal Schedule like any other', async () => {
    await schedules.create('nightly', {
      config: quick(),
      recipe: 'recipes/nightly.yaml',
      cron: '0 3 * * *',
      timezone: 'Europe/Berlin',
      catchup: '2h',
      pauseOnFailure: true,
    });
    const raw = await server.client.schedule.getHandle('nightly').describe();
    expect(raw.action).toMatchObject({ type: 'startWorkflow', workflowType: 'retrainWorkflow', workflowId: 'nightly' });
    expect(raw.policies).toEqual({ overlap: 'SKIP', catchupWindow: 7_200_000, pauseOnFailure: true });
    expect(raw.spec).toMatchObject({ timezone: 'Europe/Berlin', calendars: [{ comment: '0 3 * * *' }] });
    expect(await schedules.describe('nightly')).toMatchObject({
      name: 'nightly',
      recipe: 'recipes/nightly.yaml',
      times: ['0 3 * * *'],
      timezone: 'Europe/Berlin',
      overlap: 'skip',
      catchupSeconds: 7200,
      pauseOnFailure: true,
      paused: false,
      counts: { started: 0, missed: 0, skippedForOverlap: 0 },
      runs: [],
    });
    await until(async () => (await schedules.list()).length === 1, PATIENCE_SECONDS);
    expect((await schedules.list())[0]).toMatchObject({
      name: 'nightly',
      times: ['0 3 * * *'],
      paused: false,
      last: null,
    });
  });

  test('pauses with a note, goes on, and changes only what it is told to', async () => {
    await schedules.pause('nightly', 'new catalogue on Friday');
    expect(await schedules.describe('nightly')).toMatchObject({ paused: true, note: 'new catalogue on Friday' });
    await schedules.update('nightly', { cron: '30 2 * * 1', overlap: 'buffer-one', config: config({ seed: 9 }) });
    expect(await schedules.describe('nightly')).toMatchObject({
      times: ['30 2 * * 1'],
      timezone: 'Europe/Berlin',
      overlap: 'buffer-one',
      catchupSeconds: 7200,
      pauseOnFailure: true,
      paused: true,
    });
    await schedules.unpause('nightly');
    expect((await schedules.describe('nightly')).note).toBe('unpaused by hand');
    await schedules.update('nightly', { timezone: 'UTC', pauseOnFailure: false });
    expect(await schedules.describe('nightly')).toMatchObject({
      times: ['30 2 * * 1'],
      timezone: 'UTC',
      overlap: 'buffer-one',
      pauseOnFailure: false,
      paused: false,
    });
    const raw = await server.client.schedule.getHandle('nightly').describe();
    expect(raw.action.args?.[0]).toMatchObject({ schedule: 'nightly', config: { seed: 9 } });
  });

  test('may retrain with a sweep, which an update keeps until it is taken away', async () => {
    const sweep = { runs: [{ 'soft.curriculumAlpha': 1 }, { seed: 3 }], maxParallel: 2, earlyStop: true };
    await schedules.create('swept', { config: quick(), cron: '0 0 1 1 *', sweep });
    expect((await schedules.describe('swept')).sweep).toEqual(sweep);
    await schedules.update('swept', { config: config({ seed: 4 }) });
    expect((await schedules.describe('swept')).sweep).toEqual(sweep);
    await schedules.update('swept', { sweep: null });
    expect((await schedules.describe('swept')).sweep).toBeNull();
    await schedules.delete('swept');
  });

  test('keeps to the clock of its time zone over the changes to summer and winter time', async () => {
    await schedules.create('berlin', { config: quick(), cron: '30 2 * * *', timezone: 'Europe/Berlin' });
    const times = async (from: string, to: string) => {
      const { startTime } = await server.client.workflowService.listScheduleMatchingTimes({
        namespace: 'default',
        scheduleId: 'berlin',
        startTime: { seconds: (Date.parse(from) / 1000) as never },
        endTime: { seconds: (Date.parse(to) / 1000) as never },
      });
      return startTime.map(({ seconds }) => new Date(Number(seconds) * 1000).toISOString().slice(0, 16));
    };
    // On 28 March there is no 02:30, on 31 October there are two.
    expect(await times('2027-03-27T00:00:00Z', '2027-03-30T00:00:00Z')).toEqual([
      '2027-03-27T01:30',
      '2027-03-29T00:30',
    ]);
    expect(await times('2027-10-30T00:00:00Z', '2027-11-02T00:00:00Z')).toEqual([
      '2027-10-30T00:30',
      '2027-10-31T01:30',
      '2027-11-01T01:30',
    ]);
    await schedules.delete('berlin');
  });

  test('is refused with a reason, and named ones are found or not', async () => {
    const refused = (input: object) => schedules.create('other', { config: quick(), ...input });
    const invalid = (text: string) => ({ code: 'SCHEDULE_INVALID', message: expect.stringContaining(text) });
    await expect(refused({})).rejects.toMatchObject(invalid('either --cron or --every'));
    await expect(refused({ cron: '0 3 * *' })).rejects.toMatchObject(invalid('five fields'));
    await expect(refused({ cron: '0 99 * * *' })).rejects.toMatchObject(invalid('the server refuses it'));
    await expect(refused({ every: '6 hours' })).rejects.toMatchObject(invalid('--every'));
    await expect(refused({ every: '6h', timezone: 'Berlin' })).rejects.toMatchObject(invalid('time zone'));
    await expect(refused({ every: '6h', catchup: '1s' })).rejects.toMatchObject(invalid('--catchup'));
    await expect(schedules.create('Nightly', { config: quick(), every: '1d' })).rejects.toMatchObject(
      invalid('Nightly'),
    );
    await expect(schedules.create('nightly', { config: quick(), every: '1d' })).rejects.toMatchObject({
      code: 'SCHEDULE_EXISTS',
    });
    await expect(schedules.backfill('nightly', 'last week', '2026-11-01')).rejects.toMatchObject(invalid('--from'));
    await expect(schedules.describe('none')).rejects.toMatchObject({
      code: 'SCHEDULE_NOT_FOUND',
      message: expect.stringContaining('nightly'),
    });
    await schedules.delete('nightly');
    await expect(schedules.pause('nightly')).rejects.toMatchObject({ code: 'SCHEDULE_NOT_FOUND' });
  });
});

test('a backfill of three dates trains each on what existed then', async () => {
  await schedules.create('history', { config: config({ promote: ALWAYS }), cron: '0 0 * * *' });
  await schedules.backfill('history', '2026-03-10T00:00:00Z', '2026-03-12T00:00:00Z');
  const runs = await untilRuns('history', (all) => all.length === 3 && all.every(({ state }) => state === 'completed'));
  const nights = runs.map(({ status }) => status!).reverse();
  const dates = ['2026-03-10', '2026-03-11', '2026-03-12'].map((date) => `${date}T00:00:00.000Z`);
  expect(nights.map(({ asOf }) => asOf)).toEqual(dates);
  expect(nights.map(({ outcome }) => outcome)).toEqual(['promoted', 'promoted', 'promoted']);
  expect(new Set(nights.map(({ windowsDigest }) => windowsDigest)).size).toBe(3);
  expect(nights.map(({ champion }) => champion)).toEqual([null, nights[0]?.challenger, nights[1]?.challenger]);
  for (const { runId, asOf, trainUntil } of nights) {
    const card = await cardOf(runId);
    expect(card.params).toMatchObject({ asOf, trainUntil });
  }
  expect(await currentRelease(store)).toMatchObject({ number: 3, release: nights[2]?.challenger });
  if (RECORDING) await recordHistory(server, 'retrain-scheduled', runs[0]!.workflowId);
  await schedules.delete('history');
});

async function cardOf(runId: string): Promise<{ params: Record<string, unknown> }> {
  const record = await store.readRunRecord(runId, 'status');
  const { steps } = record!.value as { steps: { id: string; key: string }[] };
  const prepared = await store.readManifest(steps.find(({ id }) => id === 'prepare')!.key);
  return JSON.parse(Buffer.from(await store.getBytes(prepared!.outputs['card']!)).toString());
}

test('pause-on-failure stops the nights after a failed one, and says why', async () => {
  const data = { ...csv.config().data, source: { csv: { interactions: join(folder, 'gone.csv'), items: csv.items } } };
  await schedules.create('broken', {
    config: config({ data, retrain: { sourceAttempts: 1 } }),
    cron: '0 3 * * *',
    pauseOnFailure: true,
  });
  await schedules.trigger('broken');
  const [failed] = await untilRuns('broken', (runs) => states(runs).join() === 'failed');
  expect(failed?.summary).toContain('gone.csv');
  await until(async () => (await schedules.describe('broken')).paused, PATIENCE_SECONDS);
  expect((await schedules.describe('broken')).note).toContain('failure');
  await schedules.delete('broken');
});

test('a night without a worker waits, says so, and is done as of its own time once there is one again', async () => {
  const away = new Schedules({ client: server.client, store, taskQueue: 'away', heartbeatTimeoutSeconds: 3 });
  await away.create('away', { config: quick(), cron: '0 0 * * *' });
  await away.backfill('away', '2026-03-10T00:00:00Z', '2026-03-10T00:00:00Z');
  const [waiting] = await untilRuns('away', (runs) => runs.length === 1);
  expect(waiting).toMatchObject({ state: 'running', summary: expect.stringContaining('no worker answers') });
  const back = await startTestWorker(server, store.root, 'away');
  const [done] = await untilRuns('away', (runs) => states(runs).join() === 'completed');
  back.shutdown();
  await back.done;
  expect(done?.status?.asOf).toBe('2026-03-10T00:00:00.000Z');
  await away.delete('away');
});

describe('a start while a retrain is at work', () => {
  let recent: GrowingCsv;
  beforeAll(async () => {
    const start = new Date(Date.now() - 12 * 86_400_000).toISOString();
    recent = new GrowingCsv(await mkdtemp(join(folder, 'recent-')), start);
    recent.append(12);
  });

  /** A schedule whose first retrain waits in the middle of its training. */
  async function held(overlap: Overlap, seed: number): Promise<Hold> {
    const hold = new Hold(store.root, { step: 'trainEpoch', stage: 'sft', position: 'micro-batch 6' });
    const own = RunConfigSchema.parse(recent.config({ seed, promote: NEVER_BETTER }));
    await schedules.create(overlap, { config: own, cron: '0 0 1 1 *', overlap });
    await schedules.trigger(overlap);
    await hold.reached(PATIENCE_SECONDS);
    return hold;
  }
  const counts = async (name: string) => (await schedules.describe(name)).counts;
  const buffered = async (name: string) =>
    Number((await server.client.schedule.getHandle(name).describe()).raw.info?.bufferSize ?? 0);

  test('is left out under skip', async () => {
    const hold = await held('skip', 101);
    await schedules.trigger('skip');
    await until(async () => (await counts('skip')).skippedForOverlap === 1, PATIENCE_SECONDS);
    hold.release();
    await untilRuns('skip', (runs) => states(runs).join() === 'completed');
    await schedules.delete('skip');
  });

  test('waits under buffer-one, and a further one is left out', async () => {
    const hold = await held('buffer-one', 102);
    await schedules.trigger('buffer-one');
    await until(async () => (await buffered('buffer-one')) === 1, PATIENCE_SECONDS);
    await schedules.trigger('buffer-one');
    await until(async () => (await counts('buffer-one')).skippedForOverlap === 1, PATIENCE_SECONDS);
    hold.release();
    await untilRuns('buffer-one', (runs) => states(runs).join() === 'completed,completed');
    await schedules.delete('buffer-one');
  });

  test('waits under buffer-all, however many there are', async () => {
    const hold = await held('buffer-all', 103);
    for (const waiting of [1, 2]) {
      await schedules.trigger('buffer-all');
      await until(async () => (await buffered('buffer-all')) === waiting, PATIENCE_SECONDS);
    }
    hold.release();
    await untilRuns('buffer-all', (runs) => states(runs).join() === 'completed,completed,completed');
    await schedules.delete('buffer-all');
  });

  test('takes its place under cancel-other, and the cancelled one promotes nothing', async () => {
    const before = await currentRelease(store);
    const hold = await held('cancel-other', 104);
    const first = (await runsOf('cancel-other'))[0]?.status?.runId as string;
    await schedules.trigger('cancel-other');
    await untilRuns('cancel-other', (runs) => states(runs).at(-1) === 'cancelled');
    expect((await store.readRunRecord(first, 'status'))?.value).toMatchObject({ phase: 'cancelled' });
    hold.release();
    await untilRuns('cancel-other', (runs) => states(runs).join() === 'completed,cancelled');
    expect(await currentRelease(store)).toEqual(before);
    await schedules.delete('cancel-other');
  });
});

/** What a schedule has started, by the time that each start stands for. */
async function started(
  name: string,
): Promise<{ scheduledAt: number; startedAt: number; status: string; id: string }[]> {
  const found = [];
  for await (const { workflowId, startTime, status, typedSearchAttributes } of server.client.workflow.list({
    query: `TemporalScheduledById = '${name}'`,
  })) {
    const scheduledAt = typedSearchAttributes.get(SCHEDULED_START)?.getTime() ?? 0;
    found.push({ scheduledAt, startedAt: startTime.getTime(), status: status.name, id: workflowId });
  }
  return found;
}

test('the starts missed while the server was down are made up for, each as of its own time (R19)', async () => {
  const everyMs = 2000;
  await schedules.create('steady', { config: quick(), every: '2s', overlap: 'buffer-all', catchup: '1h' });
  await untilRuns('steady', (runs) => runs.length > 0);
  let [downAt, upAt] = [0, 0];
  await server.restart(async () => {
    downAt = Date.now();
    await until(() => Date.now() > downAt + 4 * everyMs);
    upAt = Date.now();
  });
  const missed: number[] = [];
  for (let at = Math.ceil(downAt / everyMs) * everyMs; at < upAt; at += everyMs) missed.push(at);
  expect(missed.length).toBeGreaterThanOrEqual(3);
  const madeUp = async () => (await started('steady')).filter(({ scheduledAt }) => missed.includes(scheduledAt));
  await until(
    async () => (await madeUp()).filter(({ status }) => status === 'COMPLETED').length === missed.length,
    120,
  );
  await schedules.pause('steady');
  for (const { scheduledAt, startedAt, id } of await madeUp()) {
    expect(startedAt).toBeGreaterThanOrEqual(upAt);
    const { asOf } = await server.client.workflow.getHandle<typeof retrainWorkflow>(id).result();
    expect(Date.parse(asOf)).toBe(scheduledAt);
  }
  expect((await schedules.describe('steady')).counts.missed).toBe(0);
  await schedules.delete('steady');
});
