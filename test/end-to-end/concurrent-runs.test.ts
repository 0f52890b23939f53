import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyStore } from '../../artifacts/verify.ts';
import type { RunConfigInput } from '../../workflows/run-config.ts';
import { DisturbedRun } from '../support/disturbed-run.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { tinyRun } from '../support/tiny-run.ts';

const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';
/** Of each seed so many runs at once: those of one seed want the same steps, those of two share nothing but the store. */
const FORM = FULL ? { seeds: 8, each: 1 } : { seeds: 2, each: 2 };
const WORKERS = 2;

let folder: string;
let server: TestServer;
const stores: DisturbedRun[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-concurrent-'));
  server = await startTestServer();
});
afterAll(async () => {
  for (const store of stores) await store.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function openWith(name: string, workers: number): Promise<DisturbedRun> {
  const store = await DisturbedRun.open(server, folder, name);
  stores.push(store);
  for (let i = 0; i < workers; i++) store.addWorker();
  return store;
}

async function configOf(seed: number): Promise<RunConfigInput> {
  if (FULL) return tinyRun(folder, { seed });
  const { data, train } = await tinyRun(folder);
  return tinyRun(folder, {
    seed,
    data: { ...data, samples: { train: 16, valid: 8, test: 8 } },
    train: { ...train, batchSize: 8, warmupSteps: 0, maxEpochs: 1 },
  });
}

test('Real runs at once on one store end with the bytes of runs that were alone on theirs (R14)', async (context) => {
  const seeds = Array.from({ length: FORM.seeds }, (_, i) => i + 1);
  const alone: Record<string, string>[] = [];
  for (const seed of seeds) {
    const solo = await openWith(`solo-${seed}`, 1);
    alone.push(await solo.digests(await (await solo.start(await configOf(seed))).result()));
    await solo.close();
    stores.pop();
  }
  expect(new Set(alone.map((digests) => digests['adapter/adapter_model.safetensors'])).size).toBe(seeds.length);

  const shared = await openWith('shared', WORKERS);
  const wanted = seeds.flatMap((seed) => Array.from({ length: FORM.each }, () => seed));
  const handles = await Promise.all(wanted.map(async (seed) => shared.start(await configOf(seed))));
  const together = await Promise.all(handles.map(async (handle) => shared.digests(await handle.result())));
  expect(together).toEqual(wanted.map((seed) => alone[seed - 1]));
  expect((await verifyStore(await shared.store(), { readData: true })).findings).toEqual([]);
  faultFigure(
    context,
    wanted.length,
    `${wanted.length} real runs of ${seeds.length} seeds on one store, ${WORKERS} workers`,
  );
});
