import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultPayloadConverter } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StepInput } from '../../activities/contracts.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { Runs } from '../../client/runs.ts';
import { Sweeps } from '../../client/sweeps.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { type RunConfig, RunConfigSchema } from '../../workflows/run-config.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { SweepPlan, SweepStatus } from '../../workflows/sweep-state.ts';
import { RECORDING, recordHistory } from '../support/histories.ts';
import { releasedFiles, startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';
import { WorkerProcess } from '../support/worker-process.ts';

let server: TestServer;
let folder: string;
let worker: RunningWorker;
let store: Store;
let sweeps: Sweeps;
let runs: Runs;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-sweep-'));
  server = await startTestServer();
  store = await openStore(join(folder, 'store'), { create: true });
  worker = await startTestWorker(server, store.root, 'sweep');
  const options = { client: server.client, store, taskQueue: 'sweep', heartbeatTimeoutSeconds: 3 };
  sweeps = new Sweeps(options);
  runs = new Runs(options);
});
afterAll(async () => {
  if (RECORDING) for (const [name, id] of RECORDED) await recordHistory(server, name, id);
  worker?.shutdown();
  await worker?.done;
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What `SOFTFLOW_RECORD_HISTORIES=1` keeps for replay. */
const RECORDED: [string, string][] = [];

const config = (change: object = {}): RunConfig =>
  RunConfigSchema.parse(
    tinyConfig({
      train: { maxEpochs: 1, patience: 4, batchSize: 8, microBatchSize: 4 },
      soft: { distancePrompts: 8, maxEpochs: 4 },
      evaluation: { ks: [1, 5, 10], metric: 'ndcg@10', zeroShot: false },
      ...change,
    }),
  );
const overAlphas = (alphas: readonly number[], change: Partial<SweepPlan> = {}): SweepPlan => ({
  runs: alphas.map((alpha) => ({ 'soft.curriculumAlpha': alpha })),
  maxParallel: 2,
  earlyStop: true,
  ...change,
});
const statusOf = async (of: Store, runId: string) => (await of.readRunRecord(runId, 'status'))?.value as RunStatus;

/** Key of every step that a worker has done for a sweep; one that waited in vain for the nearest worker is not among them. */
async function done(sweepId: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { workflowId, runId, parentExecution } of server.client.workflow.list()) {
    if (parentExecution?.workflowId !== sweepId) continue;
    const { events } = await server.client.workflow.getHandle(workflowId, runId).fetchHistory();
    const completed = new Set(
      events?.map((event) => String(event.activityTaskCompletedEventAttributes?.scheduledEventId)),
    );
    for (const { eventId, activityTaskScheduledEventAttributes: scheduled } of events ?? []) {
      const payload = scheduled?.input?.payloads?.[0];
      if (!payload || !completed.has(String(eventId))) continue;
      if (['lookUpStep', 'recordRun', 'resolveSources'].includes(scheduled?.activityType?.name ?? '')) continue;
      keys.push(defaultPayloadConverter.fromPayload<StepInput<unknown>>(payload).key);
    }
  }
  return keys;
}

/** The rest takes minutes on a busy machine: `npm run test:full`. */
const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';

describe('a sweep', () => {
  let swept: SweepStatus;

  test('does what its runs have in common once, lets the worse half go at each rung, and releases the best', async () => {
    const sweepId = await sweeps.start(config(), overAlphas([0.1, 1, 10, 100]), { recipe: 'tiny.yaml' });
    RECORDED.push(['sweep-completed', sweepId]);
    swept = await sweeps.result(sweepId);
    expect(swept).toMatchObject({ phase: 'completed', metric: 'ndcg@10', rungs: [2, 4], spent: false });
    expect(swept.runs.map(({ runId }) => runId)).toEqual([1, 2, 3, 4].map((n) => `${sweepId}-${n}`));
    await until(async () => (await done(sweepId)).length > 0);
    const keys = await done(sweepId);
    expect(keys.length).toBeGreaterThan(20);
    // Two runs whose best round is the first release the same adapter; which round is best is known last.
    const released = await Promise.all(
      swept.runs.map(
        async ({ runId }) => (await statusOf(store, runId)).steps.find(({ id }) => id === 'test-soft')?.key,
      ),
    );
    const once = keys.filter((key) => !released.includes(key));
    expect(once.length).toBeGreaterThanOrEqual(keys.length - released.length);
    expect(once).toEqual([...new Set(once)]);
    for (const { runId } of swept.runs) {
      const steps = (await statusOf(store, runId)).steps;
      const first = (await statusOf(store, `${sweepId}-1`)).steps;
      for (const id of ['prepare', 'encode', 'sft-1-train', 'self-distil', 'soft-0-distance', 'soft-1-train'])
        expect(steps.find((step) => step.id === id)?.key).toBe(first.find((step) => step.id === id)?.key);
      const second = steps.find(({ id }) => id === 'soft-2-train')?.key;
      expect(second === first.find(({ id }) => id === 'soft-2-train')?.key).toBe(runId === `${sweepId}-1`);
    }
  });

  test.runIf(FULL)(
    'lets those go that are worse than the better half after a rung, and says so in their records',
    async () => {
      const valuesAfter = async (round: number, ids: readonly string[]) =>
        Promise.all(
          ids.map(async (runId) => {
            const rows = (await statusOf(store, runId)).curriculum.slice(0, round);
            return { runId, value: Math.max(...rows.map(({ validation }) => validation.ndcg[10] as number)) };
          }),
        );
      let left = swept.runs.map(({ runId }) => runId);
      for (const rung of swept.rungs) {
        const values = await valuesAfter(rung, left);
        const border = values.map(({ value }) => value).sort((a, b) => b - a)[Math.ceil(left.length / 2) - 1] as number;
        const losers = values.filter(({ value }) => value < border).map(({ runId }) => runId);
        const told = swept.runs.filter(({ reason }) => reason?.endsWith(`round ${rung}`)).map(({ runId }) => runId);
        expect(told.sort()).toEqual(losers.sort());
        for (const runId of losers) {
          expect((await runs.look(runId)).status).toMatchObject({ phase: 'stopped' });
          expect((await statusOf(store, runId)).curriculum).toHaveLength(rung);
        }
        left = left.filter((runId) => !losers.includes(runId));
      }
      const completed = swept.runs.filter(({ phase }) => phase === 'completed');
      expect(completed.map(({ runId }) => runId)).toEqual(left);
      expect(completed.length).toBeLessThan(4);
      expect(swept.best).toBe(completed.sort((a, b) => (b.value as number) - (a.value as number))[0]?.runId);
    },
  );

  test.runIf(FULL)('is itself and its runs what the store tells when no server is asked', async () => {
    const offline = new Sweeps({ store });
    expect((await offline.list())[0]?.sweepId).toBe(swept.sweepId);
    expect(await offline.look(swept.sweepId)).toEqual({ status: swept, atWork: {} });
    const best = swept.best as string;
    expect((await store.readRunRecord(best, 'start'))?.value).toMatchObject({
      sweep: swept.sweepId,
      recipe: 'tiny.yaml',
    });
  });

  test.runIf(FULL)('a loser that is resumed on its own goes on where it was', async () => {
    const loser = swept.runs.find(({ phase }) => phase === 'stopped')?.runId as string;
    await runs.resume(loser);
    expect(await runs.result(loser)).toMatchObject({ phase: 'completed' });
  });

  test.runIf(FULL)(
    'gives the bytes of each run alone, also when worker and trainer are killed meanwhile',
    async () => {
      const [alone, disturbed] = ['alone', 'disturbed'];
      const plan = overAlphas([0.1, 1, 10, 100]);
      const other = await openStore(join(folder, disturbed), { create: true });
      const place = { step: 'trainEpoch', stage: 'soft', epoch: 2, position: 'micro-batch 7' };
      const workflows = new WorkerProcess(server, other.root, disturbed, {}, undefined, { queues: ['workflow'] });
      let victim = new WorkerProcess(server, other.root, disturbed);
      const killed = new Sweeps({
        client: server.client,
        store: other,
        taskQueue: disturbed,
        heartbeatTimeoutSeconds: 3,
      });
      const hold = new Hold(other.root, place);
      const sweepId = await killed.start(config(), plan);
      await hold.reached();
      victim.process.kill('SIGKILL');
      workflows.process.kill('SIGKILL');
      await Promise.all([victim.exited, workflows.exited]);
      hold.release();
      victim = new WorkerProcess(server, other.root, disturbed, {}, undefined, { queues: ['workflow', 'cpu', 'gpu'] });
      const result = await killed.result(sweepId);
      await victim.stop();
      const outcome = ({ settings, phase, round, value, reason }: SweepStatus['runs'][number]) => ({
        settings,
        phase,
        round,
        value,
        reason,
      });
      expect(result.runs.map(outcome)).toEqual(swept.runs.map(outcome));

      const best = swept.runs.findIndex(({ runId }) => runId === swept.best);
      const bytes = await releasedFiles(store, await statusOf(store, swept.best as string));
      const again = await releasedFiles(other, await statusOf(other, result.runs[best]?.runId as string));
      expect(again['metrics.json']).toBe(bytes['metrics.json']);
      expect(again['adapter/adapter_model.safetensors']).toBe(bytes['adapter/adapter_model.safetensors']);

      const single = await openStore(join(folder, alone), { create: true });
      const aloneWorker = await startTestWorker(server, single.root, alone);
      const solo = new Runs({ client: server.client, store: single, taskQueue: alone, heartbeatTimeoutSeconds: 3 });
      const status = await solo.result(await solo.start((await runs.config(swept.best as string)) as RunConfig));
      aloneWorker.shutdown();
      await aloneWorker.done;
      expect((await releasedFiles(single, status))['metrics.json']).toBe(bytes['metrics.json']);
    },
    60_000,
  );
});

describe('messages', () => {
  test.runIf(FULL)(
    'pause holds every run, resume lets them go on; stop ends them, and the sweep can be resumed',
    async () => {
      const hold = new Hold(store.root, {
        step: 'trainEpoch',
        stage: 'soft',
        epoch: 2,
        seed: 11,
        position: 'micro-batch 3',
      });
      const sweepId = await sweeps.start(config({ seed: 11 }), overAlphas([0.5, 5]));
      RECORDED.push(['sweep-resumed', sweepId]);
      await hold.reached();
      await sweeps.pause(sweepId);
      await until(async () =>
        Object.values((await sweeps.look(sweepId)).status.runs).some(({ phase }) => phase === 'paused'),
      );
      expect((await sweeps.look(sweepId)).status.phase).toBe('paused');
      await expect(sweeps.pause(sweepId)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' });
      await sweeps.resume(sweepId);
      await expect(sweeps.resume(sweepId)).rejects.toMatchObject({ code: 'RUN_ACTIVE' });
      await sweeps.stop(sweepId, 'now');
      const stopped = await sweeps.result(sweepId);
      expect(stopped).toMatchObject({ phase: 'stopped', best: null });
      expect(stopped.runs.map(({ phase }) => phase)).toEqual(['stopped', 'stopped']);
      await expect(sweeps.stop(sweepId, 'now')).rejects.toMatchObject({ code: 'RUN_NOT_ACTIVE' });
      hold.release();
      await sweeps.resume(sweepId);
      expect((await sweeps.result(sweepId)).best).not.toBeNull();
      await expect(sweeps.resume(sweepId)).rejects.toMatchObject({ code: 'RUN_COMPLETED' });
    },
  );

  test.runIf(FULL)(
    'a run that a person stops, and one that fails, take no further part; the others go on',
    async () => {
      const hold = new Hold(store.root, {
        step: 'trainEpoch',
        stage: 'soft',
        epoch: 2,
        seed: 12,
        position: 'micro-batch 3',
      });
      const settings = [10, 10, 5000].map((k, i) => ({ 'evaluation.ks': [k], 'soft.curriculumAlpha': i + 1 }));
      const sweepId = await sweeps.start(config({ seed: 12 }), { runs: settings, maxParallel: 1, earlyStop: false });
      RECORDED.push(['sweep-with-failure', sweepId]);
      await hold.reached();
      const [first, second] = (await sweeps.look(sweepId)).status.runs;
      const held = (await runs.look(`${sweepId}-1`)).status.phase === 'running' ? first : second;
      await runs.stop(held?.runId as string, 'round');
      hold.release();
      const ended = await sweeps.result(sweepId);
      expect(ended.runs.map(({ phase }) => phase).sort()).toEqual(['completed', 'failed', 'stopped']);
      expect(ended.runs[2]).toMatchObject({ phase: 'failed', error: { code: 'CATALOGUE_TOO_SMALL' } });
      expect(ended.runs.find(({ phase }) => phase === 'stopped')?.reason).toBe('stopped by a person');
      expect(ended.best).toBe(ended.runs.find(({ phase }) => phase === 'completed')?.runId);
    },
  );

  test.runIf(FULL)('once the budget is used up only the best goes on, to its end', async () => {
    const hold = new Hold(store.root, {
      step: 'trainEpoch',
      stage: 'soft',
      epoch: 3,
      seed: 13,
      position: 'micro-batch 3',
    });
    const plan = overAlphas([0.2, 2, 20], { budgetSeconds: 4, earlyStop: false });
    const sweepId = await sweeps.start(config({ seed: 13 }), plan);
    RECORDED.push(['sweep-budget', sweepId]);
    await hold.reached();
    await until(async () => (await sweeps.look(sweepId)).status.spent);
    hold.release();
    const ended = await sweeps.result(sweepId);
    expect(ended).toMatchObject({ phase: 'completed', spent: true });
    const completed = ended.runs.filter(({ phase }) => phase === 'completed').map(({ runId }) => runId);
    expect(completed).toEqual([ended.best]);
    const others = ended.runs.filter(({ runId }) => runId !== ended.best);
    expect(others.map(({ phase, reason }) => `${phase}: ${reason}`)).toEqual(
      others.map(() => 'stopped: the budget is used up'),
    );
  });
});

describe('a sweep that cannot succeed ends with a code', () => {
  test.runIf(FULL)('when no run comes to its end', async () => {
    const plan = { runs: [{ 'evaluation.ks': [5000] }, { 'evaluation.ks': [6000] }], maxParallel: 2, earlyStop: true };
    const sweepId = await sweeps.start(config(), plan);
    RECORDED.push(['sweep-failed', sweepId]);
    await expect(sweeps.result(sweepId)).rejects.toMatchObject({
      code: 'SWEEP_FAILED',
      message: expect.stringMatching(/-1: CATALOGUE_TOO_SMALL.*\n.*-2: CATALOGUE_TOO_SMALL/),
    });
    expect((await sweeps.look(sweepId)).status).toMatchObject({ phase: 'failed', error: { code: 'SWEEP_FAILED' } });
  });

  test.runIf(FULL)('when it has no runs, or one of them has a field that is not valid', async () => {
    const start = (plan: Partial<SweepPlan>) =>
      sweeps.start(config(), { ...overAlphas([1]), ...plan }).then((id) => sweeps.result(id));
    await expect(start({ runs: [] })).rejects.toMatchObject({ code: 'SWEEP_INVALID' });
    await expect(start({ maxParallel: 0 })).rejects.toMatchObject({ code: 'SWEEP_INVALID' });
    await expect(start({ runs: [{ 'soft.alpha': 1 }] })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
