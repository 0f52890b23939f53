import { mkdtemp, readFile, readlink, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readDecision, releaseOf, type Waiting } from '../../artifacts/decisions.ts';
import { currentRelease, promoteRelease, releaseMoves } from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { Releases } from '../../client/releases.ts';
import { writeRunView } from '../../client/run-view.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { promotionQuery } from '../../workflows/promotion-messages.ts';
import { promotionId } from '../../workflows/promotion-state.ts';
import type { promotionWorkflow } from '../../workflows/promotion-workflow.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import type { Audience } from '../../workflows/tell.ts';
import { RECORDING, recordHistory } from '../support/histories.ts';
import { startSoft, startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

const QUEUE = 'promote';
/** With the stub jobs every rank is a hash, so the bar decides: everything passes the first, nothing the second. */
const PASSES = { when: { minGain: -1 }, minWindows: 2 };
const FAILS = { when: { minGain: 1 }, minWindows: 2 };
const NIGHTLY = { by: 'anna', reason: 'looks good' };

let server: TestServer;
let folder: string;
let store: Store;
let releases: Releases;
let worker: RunningWorker;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-promotion-'));
  server = await startTestServer();
  store = await openStore(join(folder, 'store'), { create: true });
  worker = await startTestWorker(server, store.root, QUEUE);
  releases = new Releases({ client: server.client, store, taskQueue: QUEUE, heartbeatTimeoutSeconds: 3 });
  await Promise.all([
    finishedRun('first', { promote: PASSES }),
    finishedRun('worse', { promote: FAILS, soft: { curriculumAlpha: 10, distancePrompts: 8 } }),
    finishedRun('other', { promote: PASSES, seed: 7 }),
  ]);
});
afterAll(async () => {
  if (RECORDING)
    for (const [name, runId, execution] of asked) await recordHistory(server, name, promotionId(runId), execution);
  worker?.shutdown();
  await worker?.done;
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function finishedRun(workflowId: string, change: Partial<RunConfigInput>): Promise<void> {
  const train = { maxEpochs: 2, patience: 2, batchSize: 8, microBatchSize: 4 };
  const config = tinyConfig({ train, evaluation: { ks: [10], zeroShot: false }, ...change });
  await (await startSoft(server, QUEUE, { workflowId, config })).result();
}

const served = async () => (await currentRelease(store))?.release;
const keyOf = (runId: string) => releaseOf(store, runId);

/** Promotions whose histories are kept for replay, by name. */
const asked: [name: string, runId: string, execution?: string][] = [];

/** A challenger that waits for a person, as a retrain leaves it. */
async function ask(name: string, runId: string, promote: object = PASSES, audience?: Audience) {
  const question = {
    release: await keyOf(runId),
    champion: (await served()) ?? null,
    why: 'better',
    metrics: { gain: 0.1 },
  };
  const handle = await server.client.workflow.start<typeof promotionWorkflow>('promotionWorkflow', {
    workflowId: promotionId(runId),
    taskQueue: QUEUE,
    args: [{ runId, promote, question, heartbeatTimeoutSeconds: 3, ...(audience ? { audience } : {}) }],
  });
  asked.push([`promotion-${name}`, runId, handle.firstExecutionRunId]);
  return handle;
}

test('a finished run is judged against popularity and becomes current, without any workflow that waits', async () => {
  const outcome = await releases.promote('first', { ...NIGHTLY, force: false });
  expect(outcome).toMatchObject({ decision: 'promoted', runId: 'first', champion: null, number: 1 });
  expect(outcome.judgement).toMatchObject({ opponent: 'popularity', windows: 12, promote: true });
  expect(outcome.viewFault).toBeUndefined();
  expect(await currentRelease(store)).toMatchObject({
    release: await keyOf('first'),
    runId: 'first',
    ...NIGHTLY,
    metrics: { metric: 'ndcg@10', windows: 12, low: outcome.judgement?.gain?.low },
  });
  expect(await readDecision(store, 'first')).toMatchObject({ decision: 'promoted', champion: null });
});

test('servers find the release in a folder beside the store', async () => {
  const view = join(folder, 'releases', 'current');
  expect(await readlink(view)).toBe(await keyOf('first'));
  const ref = (await currentRelease(store))?.files['metrics.json'];
  expect(await readFile(join(view, 'metrics.json'))).toEqual(Buffer.from(await store.getBytes(ref as never)));
  await readFile(join(view, 'adapter', 'adapter_model.safetensors'));
});

test('one that does not pass the rule stays out, unless a person passes over it', async () => {
  const kept = await releases.promote('worse', { ...NIGHTLY, force: false });
  expect(kept).toMatchObject({ decision: 'kept', number: null, judgement: { opponent: 'champion', promote: false } });
  expect(kept.why).toContain('minGain 1');
  expect(await served()).toBe(await keyOf('first'));
  expect(await readDecision(store, 'worse')).toMatchObject({ decision: 'kept', by: 'anna' });
  const view = await writeRunView(store, 'worse', join(folder, 'runs'));
  expect(JSON.parse(await readFile(join(view, 'promotion.json'), 'utf8'))).toMatchObject({
    decision: 'kept',
    by: 'anna',
  });
  const report = await readFile(join(view, 'report.html'), 'utf8');
  expect(report).toContain('<strong>kept</strong>');
  expect(report).toMatch(/95 % interval [+-]\.\d{3} to/);
  const offline = new Releases({ store });
  expect(await offline.promote('worse', { ...NIGHTLY, force: true })).toMatchObject({
    decision: 'promoted',
    number: 2,
  });
  expect(await served()).toBe(await keyOf('worse'));
});

test('a run that is current already, and one that has no release, are told apart', async () => {
  const again = await releases.promote('worse', { ...NIGHTLY, force: false });
  expect(again).toMatchObject({ decision: 'kept', release: again.champion, why: 'its release is current already' });
  const nothing = releases.promote('nothing', { ...NIGHTLY, force: false });
  await expect(nothing).rejects.toMatchObject({ code: 'RUN_UNFINISHED' });
});

test('a person is asked, may say no with a reason, and the answer is given once', async () => {
  const handle = await ask('rejected', 'first');
  await until(async () => (await handle.query(promotionQuery)).phase === 'waiting');
  await expect(releases.reject('first', { by: 'anna', reason: ' ' })).rejects.toMatchObject({ code: 'UPDATE_REFUSED' });
  await releases.reject('first', { by: 'anna', reason: 'odd answers' });
  expect(await handle.result()).toMatchObject({ decision: 'rejected', why: 'odd answers' });
  expect(await readDecision(store, 'first')).toMatchObject({ decision: 'rejected', reason: 'odd answers' });
  expect(await served()).toBe(await keyOf('worse'));
});

test('without a workflow that waits a run can be rejected as well', async () => {
  await new Releases({ store }).reject('other', { by: 'ben', reason: 'not this one' });
  expect(await readDecision(store, 'other')).toMatchObject({ decision: 'rejected', by: 'ben' });
});

test('a newer challenger supersedes one that waits, and is promoted by a person', async () => {
  const older = await ask('superseded', 'other');
  await until(async () => ((await store.readRef('waiting'))?.value as Waiting | undefined)?.runId === 'other');
  const newer = await ask('promoted', 'first');
  expect(await older.result()).toMatchObject({ decision: 'superseded', why: expect.stringContaining('first') });
  expect(await readDecision(store, 'other')).toMatchObject({ decision: 'superseded', by: 'first' });
  expect(await releases.promote('first', { ...NIGHTLY, force: false })).toMatchObject({
    decision: 'promoted',
    number: 3,
  });
  expect(await newer.result()).toMatchObject({ decision: 'promoted', number: 3 });
  expect(await served()).toBe(await keyOf('first'));
});

test('a decision that nobody takes is called to mind and at last left, or taken as the recipe says', async () => {
  const heard: unknown[] = [];
  const webhook = createServer((request, response) => {
    void text(request).then((body) => heard.push(JSON.parse(body)));
    response.end();
  });
  await new Promise<void>((resolve) => webhook.listen(0, '127.0.0.1', resolve));
  process.env['STUB_WEBHOOK'] = `http://127.0.0.1:${(webhook.address() as AddressInfo).port}`;
  const notify = { on: ['waiting' as const, 'kept' as const], webhook: { urlEnv: 'STUB_WEBHOOK' } };
  const audience = { notify, schedule: 'nightly', asOf: '2026-11-25T03:00:00.000Z' };
  const waits = { ...PASSES, reminder: '1s', timeout: '3s' };
  const left = await ask('reminded', 'other', waits, audience);
  expect(await left.result()).toMatchObject({ decision: 'kept', why: expect.stringContaining('promote.timeout 3s') });
  const { reminders } = await left.query(promotionQuery);
  expect(reminders).toBeGreaterThan(0);
  const news = { schedule: 'nightly', runId: 'other', challenger: await keyOf('other') };
  expect(heard).toMatchObject([
    ...Array.from({ length: reminders }, () => ({
      ...news,
      event: 'waiting',
      text: expect.stringContaining('still waits'),
    })),
    { ...news, event: 'kept', text: expect.stringContaining('promote.timeout') },
  ]);
  webhook.close();
  expect(await served()).toBe(await keyOf('first'));
  const taken = await ask('timeout-promotes', 'worse', {
    ...waits,
    reminder: '1d',
    timeout: '1s',
    onTimeout: 'promote',
  });
  expect(await taken.result()).toMatchObject({ decision: 'promoted', number: 4 });
});

test('whoever loses the race for current is judged again, against the new champion', async () => {
  const hold = new Hold(store.root, { step: 'evaluate', position: 'tile 1' });
  const promoting = releases.promote('other', { ...NIGHTLY, force: false });
  await hold.reached();
  const faster = { release: await keyOf('first'), runId: 'first', by: 'faster', reason: 'first', metrics: {} };
  expect(await promoteRelease(store, { ...faster, expected: 4 })).toMatchObject({ won: true });
  hold.release();
  const outcome = await promoting;
  expect(outcome).toMatchObject({ decision: 'promoted', champion: await keyOf('first'), number: 6 });
  const moves = await releaseMoves(store);
  expect(moves.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6]);
  const { runId } = await server.client.workflow.getHandle(promotionId('other')).describe();
  asked.push(['promotion-judged-again', 'other', runId]);
  for (const [i, move] of moves.entries()) expect(move.from).toBe(moves[i - 1]?.release ?? null);
});

test('what happened is listed and audited, and a rollback goes back by one promotion', async () => {
  expect(await releases.rollback({ by: 'anna', reason: 'slow' })).toMatchObject({
    number: 7,
    release: await keyOf('first'),
  });
  expect(await readlink(join(folder, 'releases', 'current'))).toBe(await keyOf('first'));
  const listed = await releases.list();
  expect(listed.map(({ runId, current }) => [runId, current]).sort()).toEqual([
    ['first', true],
    ['other', false],
    ['worse', false],
  ]);
  expect(listed.find(({ runId }) => runId === 'first')?.numbers).toEqual([1, 3, 5, 7]);
  const audit = (await releases.audit()).map(({ what, runId }) => `${what} ${runId}`);
  expect(audit).toEqual([
    'promote first',
    'kept worse',
    'promote worse',
    'kept worse',
    'rejected first',
    'rejected other',
    'superseded other',
    'promote first',
    'kept other',
    'promote worse',
    'promote first',
    'promote other',
    'rollback first',
  ]);
  await expect(releases.rollback({ by: 'anna', reason: '', to: 'none' })).rejects.toMatchObject({
    code: 'RELEASE_NOT_FOUND',
  });
});

test('what was rolled back does not become current again while nobody looks, but a person may promote it', async () => {
  const unattended = await ask('rolled-back', 'other', { ...PASSES, timeout: '1s', onTimeout: 'promote' });
  expect(await unattended.result()).toMatchObject({
    decision: 'kept',
    why: expect.stringContaining('rolled back by anna'),
  });
  expect(await served()).toBe(await keyOf('first'));
  expect(await releases.promote('other', { ...NIGHTLY, force: false })).toMatchObject({
    decision: 'promoted',
    number: 8,
  });
});
