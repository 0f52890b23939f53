import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { earlierRuns, planRun, type RunPlan, sourceNames } from '../../client/plan-run.ts';
import { Runs } from '../../client/runs.ts';
import { machineSources, outlookIn } from '../../workers/planning.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { type RunConfigInput, RunConfigSchema } from '../../workflows/run-config.ts';
import { startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

let server: TestServer;
let folder: string;
let store: Store;
let worker: RunningWorker;
let runId: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-plan-'));
  store = await openStore(join(folder, 'store'), { create: true });
});
afterAll(async () => {
  worker?.shutdown();
  await worker?.done;
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function plan(change: Partial<RunConfigInput> = {}, from: Store | undefined = store): Promise<RunPlan> {
  const config = RunConfigSchema.parse(tinyConfig(change));
  const sources = await machineSources(sourceNames(config));
  return planRun(config, sources, { outlook: outlookIn(from), earlier: from ? await earlierRuns(from) : [] });
}
const step = ({ steps }: RunPlan, id: string) => steps.find((each) => each.id === id);
const actions = ({ steps }: RunPlan) => Object.fromEntries(steps.map(({ id, action }) => [id, action]));

test('runs of a grid have in common what does not depend on what differs, also before anything is done', async () => {
  const [one, ten] = [await plan({ soft: { curriculumAlpha: 1 } }), await plan({ soft: { curriculumAlpha: 10 } })];
  const shared = one.steps.filter(({ identity }, i) => identity === ten.steps[i]?.identity).map(({ id }) => id);
  const own = one.steps.map(({ id }) => id).filter((id) => !shared.includes(id));
  expect(own).toEqual(['soft-2-train', 'soft-2-distance', 'soft-2-validate', 'test-soft', 'release', 'report']);
  const patient = await plan({ soft: { curriculumAlpha: 1 }, train: { ...tinyConfig().train, patience: 1 } });
  const distil = ({ steps }: RunPlan) => steps.find(({ id }) => id === 'self-distil')?.identity;
  expect(distil(patient)).not.toBe(distil(one));
});

test('before the first run every step is to be run, and says what it depends on', async () => {
  for (const from of [store, undefined]) {
    const planned = await plan({}, from);
    expect(new Set(planned.steps.map(({ action }) => action))).toEqual(new Set(['run']));
    expect(step(planned, 'prepare')).toMatchObject({ reason: 'not done before in this store', dependsOn: [] });
    expect(step(planned, 'encode')?.dependsOn).toEqual(['Prepare data']);
    expect(step(planned, 'soft-2-train')?.dependsOn).toContain('SOFT round 1: distance');
    expect(planned.prepared).toBeUndefined();
  }
});

test('after a run the plan of the same recipe finds every step under the key that the run looked up', async () => {
  server = await startTestServer();
  worker = await startTestWorker(server, store.root, 'plans');
  const runs = new Runs({ client: server.client, store, taskQueue: 'plans', heartbeatTimeoutSeconds: 3 });
  runId = await runs.start(RunConfigSchema.parse(tinyConfig()));
  const status = await runs.result(runId);
  const planned = await plan({ name: 'another', cost: { perHour: 3 } });
  const { report, ...others } = actions(planned);
  expect(report).toBe('run');
  expect(new Set(Object.values(others))).toEqual(new Set(['reuse']));
  for (const { id, key } of status.steps.slice(0, -1)) expect([id, step(planned, id)?.key]).toEqual([id, key]);
  expect(planned.steps.map(({ id }) => id)).toEqual(status.steps.map(({ id }) => id));
  expect(step(planned, 'sft-1-train')?.reason).toBe(`done by ${runId}`);
  expect(planned.prepared?.result.windows.train).toBe(24);
});

test('another pace of the curriculum reuses everything up to its second round', async () => {
  const planned = await plan({ soft: { curriculumAlpha: 2, distancePrompts: 8 } });
  const later = planned.steps.slice(planned.steps.findIndex(({ id }) => id === 'soft-2-train'));
  const reusedLater = new Set(['test-popularity', 'test-zeroShot', 'test-sft']);
  for (const { id, action } of planned.steps)
    expect([id, action]).toEqual([id, later.some((l) => l.id === id) && !reusedLater.has(id) ? 'run' : 'reuse']);
  const { reason } = step(planned, 'soft-2-train') ?? {};
  expect(reason).toMatch(/^lambda 0\.\d+ -> 0\.\d+$/);
});

test('a changed field is named with both values, in the words of the recipe', async () => {
  const { data } = tinyConfig();
  const planned = await plan({
    data: { ...data, kCore: 3 } as never,
    train: { ...tinyConfig().train, learningRate: 0.5 },
  });
  expect(step(planned, 'prepare')).toMatchObject({ action: 'run', reason: 'data.kCore 2 -> 3' });
  expect(step(planned, 'sft-1-train')).toMatchObject({
    action: 'run',
    reason: 'after Prepare data; train.learningRate 0.0001 -> 0.5',
  });
  const rerun = await plan({ generation: { tileRows: 4, maxNewTokens: 9 } });
  expect(step(rerun, 'sft-1-train')?.action).toBe('reuse');
  expect(step(rerun, 'sft-1-validate')?.reason).toBe('generation.maxNewTokens 8 -> 9');
  // Its inputs are known and it is done, whether validation will ask for it or not.
  expect(step(rerun, 'sft-2-train')?.action).toBe('reuse');
});

test('a step that was begun is resumed from where it stands', async () => {
  const train = { maxEpochs: 2, patience: 2, batchSize: 8, microBatchSize: 2 };
  const key = step(await plan({ train }), 'sft-1-train')?.key as string;
  await saveCheckpoint(store, key, { position: [1, 0, 2], fingerprint: {}, blob: Buffer.from('state') });
  expect(step(await plan({ train }), 'sft-1-train')).toMatchObject({
    action: 'resume',
    reason: 'from checkpoint 1.0.2',
  });
});
