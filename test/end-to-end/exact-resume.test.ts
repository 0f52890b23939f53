import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StepTelemetry } from '../../activities/contracts.ts';
import type { Manifest } from '../../artifacts/manifest.ts';
import { listTiles } from '../../artifacts/tiles.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { workflowBundle } from '../../workers/workflow-bundle.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { softWorkflow } from '../../workflows/soft-workflow.ts';
import { seededRandom } from '../artifacts/fixtures.ts';
import { DisturbedRun, type PlannedKill } from '../support/disturbed-run.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { historyFigures } from '../support/histories.ts';
import { KILLED_BACKEND } from '../support/killed-backend.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { tinyRun } from '../support/tiny-run.ts';
import { expectLearnt, stepKey, type UndisturbedRun } from '../support/undisturbed-run.ts';
import { until } from '../support/until.ts';
import { gone } from '../support/worker-process.ts';

type Change = Parameters<typeof tinyRun>[1];

/** Which training, and where it is disturbed. */
const SEED = Number(process.env['SOFTFLOW_FAULT_SEED'] ?? 1);
const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';

let folder: string;
let server: TestServer;
/** The undisturbed run that the others are compared with, and the seed of its training. */
let trainingSeed = 41 + SEED;
let calm: UndisturbedRun;
const runs: DisturbedRun[] = [];
const handles: WorkflowHandle<typeof softWorkflow>[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-exact-'));
  server = await startTestServer({ database: join(folder, 'temporal.db') });
  calm = await learntRun();
}, 3_600_000);
afterAll(async () => {
  for (const run of runs) await run.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function undisturbed(name: string, change: Change = {}): Promise<UndisturbedRun> {
  const run = await open(name);
  run.addWorker();
  const status = await (await start(run, change)).result();
  const keys = new Map(status.steps.flatMap(({ id, key }) => (key ? [[id, key]] : [])));
  return { run, status, digests: await run.digests(status), keys, moments: run.holds.moments() };
}

async function open(name: string, kills: readonly PlannedKill[] = [], twin = calm): Promise<DisturbedRun> {
  const plan = kills.map(({ step, ...at }) => ({ ...at, key: keyOf(step, twin), atBorder: step === 'encode' }));
  const run = await DisturbedRun.open(server, folder, name, plan);
  runs.push(run);
  return run;
}

async function start(run: DisturbedRun, change: Change = {}, workflowId?: string) {
  const handle = await run.start(await tinyRun(folder, { seed: trainingSeed, ...change }), workflowId);
  handles.push(handle);
  return handle;
}

/** Starts the run and kills as planned; the result is compared with that of its undisturbed twin. */
async function killAndCompare(name: string, kills: readonly PlannedKill[], change: Change = {}, twin = calm) {
  const run = await open(name, kills, twin);
  run.addWorker();
  const handle = await start(run, change);
  const ended = handle.result();
  const early = ended.then(() => Promise.reject(new Error(`ended after ${run.kills.length} kills`)));
  early.catch(() => {});
  for (const [i, kill] of kills.entries()) await Promise.race([run.kill(i, keyOf(kill.step, twin), kill), early]);
  const status = await ended;
  await expectSameBytes(run, status, twin);
  return { run, status };
}

function keyOf(step: string, twin = calm): string {
  return stepKey(twin, step);
}

/** Any moment of the step from its second third on, by when something of it has been saved. */
function atRandom(salt: number, kills: readonly Omit<PlannedKill, 'moment'>[], twin = calm): PlannedKill[] {
  const random = seededRandom(1000 * SEED + salt);
  return kills.map((kill) => {
    const moments = twin.moments.get(keyOf(kill.step, twin)) as number;
    const first = Math.ceil(moments / 3);
    return { ...kill, moment: first + random(moments - first) };
  });
}

async function expectSameBytes(run: DisturbedRun, status: RunStatus, twin = calm): Promise<void> {
  expect(await run.digests(status)).toEqual(twin.digests);
}

/** So small a run does not learn with every seed: then with another one. */
async function learntRun(): Promise<UndisturbedRun> {
  for (let attempt = 1; ; attempt++, trainingSeed += 1000) {
    const run = await undisturbed(`calm-${attempt}`);
    try {
      await expectLearnt(run);
      return run;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

async function failureOf(handle: WorkflowHandle<typeof softWorkflow>) {
  const error = await handle.result().catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  return (error as WorkflowFailedError).cause;
}

const states = ({ steps }: RunStatus) => Object.fromEntries(steps.map(({ id, state }) => [id, state]));

/** Stops the run at each of the places, kills the server and starts it again; where there are victims they are killed too. */
async function killServer(name: string, places: readonly PlannedPlace[], change: Change = {}, twin = calm) {
  const kills = atRandom(
    3,
    places.map(({ step, victims = 'both' }) => ({ step, victims })),
    twin,
  );
  const run = await open(name, kills, twin);
  run.addWorker();
  const handle = await start(run, change);
  for (const [i, kill] of kills.entries()) {
    await run.holds.held(i);
    await server.restart();
    if (places[i]?.victims) await run.kill(i, keyOf(kill.step, twin), kill);
    else run.holds.release(i);
  }
  await expectSameBytes(run, await handle.result(), twin);
}

interface PlannedPlace {
  step: string;
  victims?: PlannedKill['victims'];
}

test('The same bytes come out when the Temporal server is killed and started again on its database, also together with worker and trainer (R3)', async (context) => {
  const places: PlannedPlace[] = [
    { step: 'sft-1-train' },
    { step: 'self-distil' },
    { step: 'soft-2-train', victims: 'both' },
  ];
  await killServer('server-killed', places);
  faultFigure(context, places.length, 'server 3 times, once with worker and trainer');
});

test.runIf(FULL)('so they do when it is killed twenty times in one run (R3)', async (context) => {
  const { train } = await tinyRun(folder);
  const long: Change = { train: { ...train, maxEpochs: 4, patience: 4 } };
  const twin = await undisturbed('long', long);
  const epochs = [1, 2, 3, 4];
  const steps = [
    ...epochs.flatMap((epoch) => [`sft-${epoch}-train`, `sft-${epoch}-validate`]),
    'self-distil',
    ...epochs.flatMap((epoch) => [`soft-${epoch}-train`, `soft-${epoch}-distance`]),
    'soft-4-validate',
    'test-sft',
    'test-soft',
  ];
  const together = new Set(['sft-2-train', 'self-distil', 'soft-1-train', 'soft-3-distance', 'test-soft']);
  const places = steps.map((step): PlannedPlace => (together.has(step) ? { step, victims: 'both' } : { step }));
  await killServer('server-killed-often', places, long, twin);
  faultFigure(context, places.length, `server ${places.length} times, ${together.size} times with worker and trainer`);
});

// Two at a time: each waits for processes more than it computes.
describe.concurrent('The same bytes come out', () => {
  test('when trainer, worker or both are killed in every stage (R2)', async (context) => {
    const kills = atRandom(1, [
      { step: 'encode', victims: 'trainer' },
      { step: 'sft-1-train', victims: 'worker' },
      { step: 'sft-2-train', victims: 'both' },
      { step: 'sft-2-validate', victims: 'trainer' },
      { step: 'self-distil', victims: 'worker' },
      { step: 'soft-0-distance', victims: 'trainer' },
      { step: 'soft-1-train', victims: 'both' },
      { step: 'soft-2-train', victims: 'trainer' },
      { step: 'soft-2-distance', victims: 'both' },
      { step: 'test-soft', victims: 'worker' },
    ]);
    const { run, status } = await killAndCompare('killed', kills);

    const between = run.kills.filter(({ strictlyBetween }) => strictlyBetween);
    for (const step of ['trainEpoch', 'selfDistill', 'measureDistance', 'evaluate'])
      expect(between.map(({ step: id }) => status.steps.find((s) => s.id === id)?.step)).toContain(step);
    expect(between.length).toBeGreaterThanOrEqual(run.kills.length / 2);
    for (const { step, victims, position, reusedRows, savedTiles } of run.kills) {
      if (savedTiles === 0) continue;
      const resumed = await run.resumedRows(keyOf(step));
      // A trainer that has lost its worker may still finish the tile in its hands: that is reused too, or was the last.
      const possible = victims === 'worker' ? [reusedRows, reusedRows + 8] : [reusedRows];
      const wasLast = victims === 'worker' && /tile (\d+)\/\1$/.test(position) && resumed.length === 0;
      const goneOn = wasLast || possible.some((rows) => resumed.includes(rows));
      expect(goneOn, `${step} was killed with ${reusedRows} rows saved, went on from ${resumed}`).toBe(true);
    }
    const table = run.kills.map((k) => `${k.step} ${k.victims} at ${k.position}, moment ${k.moment}, after ${k.saved}`);
    const digests = Object.entries(await run.digests(status)).map(([path, sha256]) => `${path} ${sha256.slice(0, 12)}`);
    const figure = [`${between.length} strictly between two checkpoints`, ...table, ...digests];
    faultFigure(context, kills.length, figure.join('; '));
  });

  test('after SIGTERM and cancellation in seven pieces, each drained within 10 s (R18)', async (context) => {
    const kills = atRandom(2, [
      { step: 'sft-1-train', victims: 'worker', signal: 'SIGTERM' },
      { step: 'self-distil', victims: 'worker', signal: 'SIGTERM' },
      { step: 'soft-1-train', victims: 'trainer', signal: 'SIGTERM' },
      { step: 'soft-2-distance', victims: 'both', signal: 'SIGTERM' },
      { step: 'test-sft', victims: 'worker', signal: 'SIGTERM' },
      { step: 'test-soft', victims: 'trainer' },
    ]);
    const cancelled = kills.length - 1;
    const run = await open('drained', kills);
    run.addWorker();
    const handle = await start(run);
    const seconds: number[] = [];
    for (const [i, kill] of kills.slice(0, cancelled).entries()) {
      const worker = run.workers.at(-1);
      const { drainSeconds } = await run.kill(i, keyOf(kill.step), kill);
      seconds.push(drainSeconds);
      if (kill.victims !== 'trainer') expect(await worker?.exited).toEqual({ code: 0, signal: null });
    }
    await run.holds.held(cancelled);
    await handle.cancel();
    run.holds.release(cancelled);
    const began = performance.now();
    await handle.result().catch(() => {});
    seconds.push((performance.now() - began) / 1000);
    const status = await (await start(run)).result();
    await expectSameBytes(run, status);
    expect(Math.max(...seconds)).toBeLessThan(10);
    faultFigure(context, kills.length, `slowest drain ${Math.max(...seconds).toFixed(1)} s`);
  });

  test('over two and seven shards, with one worker and with two at once (R20)', async (context) => {
    for (const shards of [2, 7]) {
      const run = await open(`shards-${shards}`);
      for (let workers = shards === 2 ? 2 : 1; workers > 0; workers--) run.addWorker();
      const status = await (await start(run, { shards })).result();
      await expectSameBytes(run, status);
      expect(new Set(Object.values(states(status)))).toEqual(new Set(['run']));
    }
    faultFigure(context, 2, '1, 2 and 7 shards, 1 and 2 workers');
  });

  test('when the trainer is killed inside every tile of a small run (R20)', async (context) => {
    const { data, train } = await tinyRun(folder);
    const small: Change = {
      data: { ...data, samples: { train: 16, valid: 8, test: 8 } },
      // Its few steps must move the adapter: two steps with one adapter would be one step with one key.
      train: { ...train, batchSize: 8, warmupSteps: 0, maxEpochs: 1 },
      encode: { tileRows: 64 },
    };
    const twin = await undisturbed('small', small);
    const store = await twin.run.store();
    const kills: PlannedKill[] = [];
    for (const [step, key] of twin.keys) {
      const tiles = (await listTiles(store, key)).length;
      for (let tile = 1; tile <= tiles; tile++)
        kills.push({ step, moment: 1, position: `tile ${tile}/${tiles}`, victims: 'trainer' });
    }
    expect(kills.length).toBeGreaterThan(10);
    const { run } = await killAndCompare('every-tile', kills, small, twin);
    expect(run.kills.map(({ savedTiles }) => savedTiles)).toEqual(
      kills.map(({ position }) => Number(/\d+/.exec(position as string)?.[0]) - 1),
    );
    faultFigure(context, kills.length, 'a kill inside every tile repeats that tile only');
  });

  test.skipIf(KILLED_BACKEND !== 'tensorflow')('with weights in bf16 (R20)', async (context) => {
    const change: Change = { model: { ...(await tinyRun(folder)).model, precision: 'bf16' } };
    const twin = await undisturbed('bf16', change);
    expect(twin.digests['adapter/adapter_model.safetensors']).not.toBe(
      calm.digests['adapter/adapter_model.safetensors'],
    );
    const steps = ['sft-1-train', 'self-distil', 'soft-2-train'];
    const kills = steps.map((step) => ({ step, victims: 'trainer' as const }));
    await killAndCompare('bf16-killed', atRandom(5, kills, twin), change, twin);
    faultFigure(context, kills.length, 'bf16');
  });

  test('when a worker that was thought lost comes back after another has finished its step (R12)', async (context) => {
    const kills = atRandom(4, [{ step: 'sft-2-train', victims: 'both' }]);
    const run = await open('stalled', kills);
    const stalled = run.addWorker();
    const handle = await start(run);
    await run.holds.held(0);
    const trainer = await stalled.trainer();
    const pids = [stalled.process.pid as number, trainer.pid];
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    run.holds.release(0);
    run.addWorker();
    const status = await handle.result();
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    await sleep(2000);
    await expectSameBytes(run, status);
    expect((await verifyStore(await run.store(), { readData: true })).findings).toEqual([]);
    await expectSameBytes(run, await (await start(run)).result());
    faultFigure(context, 1, 'nothing moved by the late worker');
  });

  test.skipIf(KILLED_BACKEND !== 'tensorflow')(
    'after three deaths of the trainer at one position and a backend that changed half-way, each of which ends the run with a code (R20, poison)',
    async (context) => {
      const deaths = [1, 2, 3].map(() => ({ step: 'sft-1-train', moment: 2, victims: 'trainer' as const }));
      const run = await open('poison', [...deaths, { step: 'sft-2-train', moment: 40, victims: 'worker' }]);
      const worker = run.addWorker();
      const poisoned = await start(run, {}, 'poison');
      for (const [i, kill] of deaths.entries()) await run.kill(i, keyOf(kill.step), kill);
      expect(await failureOf(poisoned)).toMatchObject({
        type: 'NO_PROGRESS',
        nonRetryable: true,
        message: expect.stringMatching(/step 1\/4, micro-batch 1\/4 .*SIGKILL.* GB of memory/),
      });

      const changed = await start(run, {}, 'poison');
      await run.holds.held(deaths.length);
      const orphan = await worker.trainer();
      worker.process.kill('SIGKILL');
      run.holds.release(deaths.length);
      await gone(orphan);
      const other = run.addWorker({ SOFTFLOW_THREADS: '1' });
      expect(await failureOf(changed)).toMatchObject({ type: 'FINGERPRINT_CHANGED', nonRetryable: true });
      await other.stop();

      run.addWorker();
      await expectSameBytes(run, await (await start(run, {}, 'poison')).result());
      faultFigure(context, 2, 'NO_PROGRESS with position, signal and memory; FINGERPRINT_CHANGED; no orphan');
    },
  );

  test('when two runs at once want the same epochs, and the one that computes them is killed (R12)', async (context) => {
    const kills = atRandom(6, [{ step: 'sft-2-train', victims: 'both' }]);
    const run = await open('two-runs', kills);
    const store = await run.store();
    const unknown = { workflowId: 'unknown', runId: randomUUID(), activityId: '1', number: 1 };
    await store.addTelemetry(keyOf('sft-1-train'), { runId: 'unknown', seconds: 0, resumes: 0, attempt: unknown });
    run.addWorker();
    run.addWorker();
    const handles = [await start(run), await start(run)];
    await run.holds.held(0);
    await until(async () => (await Promise.all(handles.map(standsAside))).includes(true));
    await run.kill(0, keyOf('sft-2-train'), kills[0] as PlannedKill);
    for (const handle of handles) await expectSameBytes(run, await handle.result());
    for (const [step, key] of calm.keys) {
      const computed = (await store.readTelemetry(key)) as StepTelemetry[];
      if (step.endsWith('-train')) expect(computed.filter(({ rate }) => rate !== undefined)).toHaveLength(1);
    }
    faultFigure(context, 2, 'each epoch computed once by two runs, one of them killed');
  });
});

/** Whether a step of the run waits for another run that computes it. */
async function standsAside(handle: WorkflowHandle): Promise<boolean> {
  const { raw } = await handle.describe();
  const failures = (raw.pendingActivities ?? []).map(({ lastFailure }) => lastFailure?.applicationFailureInfo?.type);
  return failures.includes('STEP_AT_WORK');
}

describe('Afterwards', () => {
  test('the same recipe reuses every step, and another curriculumAlpha all before its second round', async () => {
    const again = await (await start(calm.run)).result();
    const { report, ...others } = states(again);
    expect(report).toBe('run');
    expect(new Set(Object.values(others))).toEqual(new Set(['reused']));
    await expectSameBytes(calm.run, again);

    const change = { soft: { curriculumAlpha: 100, distancePrompts: 32 } };
    const other = await (await start(calm.run, change)).result();
    const begun = Object.entries(states(other)).filter(([, state]) => state === 'run');
    expect(begun[0]?.[0]).toBe('soft-2-train');
  });

  test('an artifact that was lost is made again from its inputs, with the same bytes (R8)', async (context) => {
    const store = await calm.run.store();
    const lost = [
      ['encode', 'embeddings'],
      ['sft-2-train', 'adapter'],
      ['self-distil', 'distilled'],
      ['test-soft', 'predictions'],
    ] as const;
    for (const [step, name] of lost) {
      const manifest = (await store.readManifest(keyOf(step))) as Manifest;
      await rm(join(calm.run.storeRoot, manifest.outputs[name]!.uri), { force: true });
    }
    const again = await (await start(calm.run)).result();
    const made = Object.entries(states(again)).filter(([id, state]) => state === 'run' && id !== 'report');
    expect(made.map(([id]) => id)).toEqual(lost.map(([step]) => step));
    await expectSameBytes(calm.run, again);
    faultFigure(context, lost.length, 'made again, nothing else');
  });

  test('no history is long, no payload large, and every history replays (R13, R15)', async (context) => {
    let largest = 0;
    let longest = 0;
    let most = 0;
    for (const handle of handles) {
      const history = await handle.fetchHistory();
      const { events, bytes, largestPayload } = historyFigures(history);
      longest = Math.max(longest, events);
      most = Math.max(most, bytes);
      largest = Math.max(largest, largestPayload);
      await Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history, handle.workflowId);
    }
    expect(longest).toBeLessThanOrEqual(2000);
    expect(most).toBeLessThanOrEqual(2 * 2 ** 20);
    expect(largest).toBeLessThanOrEqual(16_384);
    faultFigure(context, handles.length, `at most ${longest} events, ${most} bytes, payloads of ${largest} bytes`);
  });
});
