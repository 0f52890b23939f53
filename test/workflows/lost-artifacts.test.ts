import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkflowFailedError } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { forgetUser } from '../../client/forget-user.ts';
import { countPersonRows, hasPersons } from '../../datasets/person-rows.ts';
import { decodeWindows } from '../../datasets/tables.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { statusQuery } from '../../workflows/messages.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { seededRandom } from '../artifacts/fixtures.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { releasedFiles, startSoft, startTestWorker } from '../support/soft-run.ts';
import { Hold, type Place } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

const SEED = Number(process.env['SOFTFLOW_FAULT_SEED'] ?? 1);
const TRIALS = process.env['SOFTFLOW_TEST_FULL'] === '1' ? 100 : 5;
/** What a run hands out and does not tell of circumstances. */
const COMPARED = ['metrics.json', 'lineage.json', 'adapter/adapter_model.safetensors'];

let server: TestServer;
let folder: string;
const workers: RunningWorker[] = [];
let calmId: string;
let undisturbed: Record<string, string>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-lost-'));
  server = await startTestServer();
  await openWorker('calm');
  const handle = await startSoft(server, 'calm');
  calmId = handle.workflowId;
  const status = await handle.result();
  undisturbed = await releasedFiles(await openStore(join(folder, 'calm')), status);
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

/** Deletes outputs of steps, `step id/output`, as somebody with `rm` would. */
async function lose(store: Store, { steps }: RunStatus, outputs: readonly string[]): Promise<void> {
  for (const output of outputs) {
    const [id, name = ''] = output.split('/');
    const manifest = await store.readLatestManifest(steps.find((step) => step.id === id)?.key ?? '');
    await rm(join(store.root, manifest?.outputs[name]?.uri ?? 'nothing'));
  }
}

const training = (stage: string, epoch: number): Place => ({
  step: 'trainEpoch',
  stage,
  epoch,
  position: 'micro-batch 2',
});
/** Where the run is held, and what is gone when it goes on. Only an evaluation on test windows has a third tile. */
const LOSSES: [Place, string[]][] = [
  [training('sft', 1), ['prepare/windowsValid', 'encode/embeddings']],
  [training('soft', 1), ['self-distil/distilled', 'sft-1-train/state', 'sft-2-train/adapter', 'sft-1-train/adapter']],
  [training('soft', 2), ['prepare/items', 'prepare/windowsTest', 'prepare/titles']],
  [
    { step: 'evaluate', position: 'tile 3' },
    ['prepare/windowsTest', 'prepare/card', 'test-popularity/predictions', 'soft-1-train/state'],
  ],
];

test('What is deleted under a run is made again when it is needed, and the same bytes come out. (R8)', async (context) => {
  await openWorker('lost');
  const root = join(folder, 'lost');
  const store = await openStore(root);
  let hold = new Hold(root, (LOSSES[0] as (typeof LOSSES)[0])[0]);
  const handle = await startSoft(server, 'lost');
  for (const [index, [, outputs]] of LOSSES.entries()) {
    await hold.reached();
    await lose(store, await handle.query(statusQuery), outputs);
    const next = LOSSES[index + 1];
    if (next) hold = new Hold(root, next[0]);
    else hold.release();
  }
  const status = await handle.result();
  const files = await releasedFiles(store, status);
  for (const path of COMPARED) expect([path, files[path]]).toEqual([path, undisturbed[path]]);
  expect(new Set(status.steps.map(({ state }) => state))).toEqual(new Set(['run']));
  faultFigure(context, LOSSES.flatMap(([, outputs]) => outputs).length, 'deleted under a run: made again');
});

test('Whichever artifact of a finished run is deleted, the same recipe makes it again. (R8)', async (context) => {
  await openWorker('any');
  const root = join(folder, 'any');
  const store = await openStore(root);
  const first = await (await startSoft(server, 'any')).result();
  const random = seededRandom(SEED);
  // A run's report tells of that run alone.
  const steps = first.steps.filter(({ id }) => id !== 'report');
  const outputs = await Promise.all(
    steps.map(async ({ id, key = '' }) =>
      Object.values((await store.readManifest(key))?.outputs ?? {}).map(({ uri }) => ({ id, uri })),
    ),
  );
  for (let trial = 1; trial <= TRIALS; trial++) {
    const ofStep = outputs[random(outputs.length)] as { id: string; uri: string }[];
    const { uri } = ofStep[random(ofStep.length)] as { uri: string };
    await rm(join(root, uri));
    const again = await (await startSoft(server, 'any')).result();
    const made = again.steps.filter(({ state }) => state === 'run').map(({ id }) => id);
    // A release hands out files of other steps: whoever makes it again does so for both.
    const owners = outputs.flat().filter((output) => output.uri === uri);
    expect(made.some((id) => owners.some((owner) => owner.id === id))).toBe(true);
    const files = await releasedFiles(store, again);
    for (const path of COMPARED) expect([path, files[path]]).toEqual([path, undisturbed[path]]);
    expect((await verifyStore(store)).findings).toEqual([]);
  }
  faultFigure(context, TRIALS, 'any one of a finished run: made again');
});

test('What cannot be made again ends the run with an error that names it. (R8)', async (context) => {
  await openWorker('hopeless');
  const root = join(folder, 'hopeless');
  const store = await openStore(root);
  const hold = new Hold(root, training('soft', 1));
  const handle = await startSoft(server, 'hopeless');
  await hold.reached();
  const { steps } = await handle.query(statusQuery);
  const prepared = await store.readLatestManifest(steps.find(({ id }) => id === 'prepare')?.key ?? '');
  const windows = prepared?.outputs['windowsTest'];
  await rm(join(root, windows?.uri ?? 'nothing'));
  // Nobody knows any more how it was made.
  for (const n of await readdir(join(root, 'manifests', prepared?.key ?? '')))
    await rm(join(root, 'manifests', prepared?.key ?? '', n));
  hold.release();
  const error = await handle.result().catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(WorkflowFailedError);
  expect((error as WorkflowFailedError).cause).toMatchObject({
    type: 'STORE_MISSING',
    nonRetryable: true,
    message: expect.stringContaining(windows?.sha256 ?? 'nothing'),
  });
  faultFigure(context, 1, 'or an error that names it');
});

test('A forgotten user is gone with all that was trained on them, and the same recipe says so instead of bringing them back.', async () => {
  const store = await openStore(join(folder, 'calm'));
  const status = await store.readRunRecord(calmId, 'status');
  const { steps } = status!.value as RunStatus;
  const outputOf = async (id: string, name: string) =>
    (await store.readManifest(steps.find((step) => step.id === id)?.key ?? ''))?.outputs[name] as ArtifactRef;
  const [{ userId } = { userId: '' }] = decodeWindows(await store.getBytes(await outputOf('prepare', 'windowsTrain')));
  const adapter = await outputOf('release', 'adapter/adapter_model.safetensors');
  const countRows = async (ref: ArtifactRef) =>
    hasPersons(ref.schema) ? countPersonRows(await store.pathOf(ref), ref.schema, userId) : 0;

  const report = await forgetUser(store, { countRows });
  expect(new Set(report.tables.map(({ schema }) => schema))).toContain('interactions');
  const forgotten = steps.filter(({ key }) => report.steps.some((step) => step.key === key)).map(({ id }) => id);
  const trainedOn = /^(prepare|s.*-train|self-distil|soft-.-distance|.*-validate|test-s.*|release|report)$/;
  expect(forgotten).toEqual(expect.arrayContaining(steps.map(({ id }) => id).filter((id) => trainedOn.test(id))));
  // Titles are nobody's.
  expect(forgotten).not.toContain('encode');
  expect(report).toMatchObject({ runs: [calmId], releases: [{ current: false }] });
  expect(await store.has(adapter)).toBe(false);
  expect((await verifyStore(store, { readData: true })).findings).toEqual([]);

  const error = await (await startSoft(server, 'calm')).result().catch((caught: unknown) => caught);
  expect((error as WorkflowFailedError).cause).toMatchObject({ type: 'STEP_FORGOTTEN', nonRetryable: true });
  expect(await store.has(adapter)).toBe(false);
});
