import { appendFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { resolveSources } from '../../activities/resolve-sources.ts';
import { recordRetrain, recordRun } from '../../activities/run-records.ts';
import { collectGarbage } from '../../artifacts/gc.ts';
import { stepKey } from '../../artifacts/step-key.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { forgetUser } from '../../client/forget-user.ts';
import type { DataSource } from '../../datasets/sources/source.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { GrowingCsv } from '../support/growing-csv.ts';

let folder: string;
let store: Store;
let csv: GrowingCsv;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-sources-'));
  store = await openStore(join(folder, 'store'), { create: true });
  csv = new GrowingCsv(folder, '2026-03-01T00:00:00Z');
  csv.append(6);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const AS_OF = '2026-03-10T00:00:00Z';
const places = {
  modelFiles: async () => ({ folder: 'test/reference/tiny-llama' }),
  dataSource: async () => RunConfigSchema.parse(csv.config()).data.source as DataSource,
};
async function found(runId: string, asOf?: string) {
  const cutOff = { timeUnit: 'auto', maxBadRows: 0, ...(asOf === undefined ? {} : { asOf }) } as const;
  const names = { model: { folder: 'tiny' }, data: {}, cutOff, runId };
  return (await resolveSources(places, names, { store })).data;
}
/** A row of before the cut-off that comes late. */
let late = 0;
const appendLate = () =>
  appendFileSync(csv.interactions, `u1,1,${Date.parse('2026-03-02T01:00:00Z') / 1000 + late++}\n`);
const status = (key: string) => ({ steps: [{ step: 'prepareData', state: 'run', key }] });
async function prepared(digest: string): Promise<string> {
  const windows = await store.putBytes(Buffer.from(`windows of ${digest}`));
  const made = { step: 'prepareData', contractVersion: 1, inputs: {}, params: { digest } };
  const key = stepKey(made);
  const rest = { outputs: { windows }, result: null, fingerprint: { backend: 'none' } };
  await store.writeManifest(key, { version: 1, key, ...made, ...rest });
  return key;
}
const kept = async (): Promise<string[]> => {
  const { setAside } = await collectGarbage(store, { graceMs: 0, dryRun: true, now: () => Date.now() + 1000 });
  return setAside;
};

test('a run that is taken up reads the copy that was made for it; late rows cannot change it', async () => {
  const first = await found('run-1', AS_OF);
  expect(first.snapshot).toBeDefined();
  appendLate();
  expect(await found('run-1', AS_OF)).toEqual(first);
  expect((await found('run-2', AS_OF)).digest).not.toBe(first.digest);
  expect(await kept()).not.toContain(first.snapshot?.interactions.sha256);
});

test('once the data is prepared its key stands for the copy, which is garbage then', async () => {
  const { digest, snapshot } = await found('run-1', AS_OF);
  await recordRun(store, { runId: 'run-1', status: status(await prepared(digest)) });
  expect(await found('run-1', AS_OF)).toEqual({ digest });
  expect(await kept()).toContain(snapshot?.interactions.sha256);
});

test('when what was prepared is gone, the source is read again', async () => {
  const { digest } = await found('run-2', AS_OF);
  const key = await prepared(digest);
  await recordRun(store, { runId: 'run-2', status: status(key) });
  await store.forgetManifest(key);
  appendLate();
  expect((await found('run-2', AS_OF)).digest).not.toBe(digest);
});

test('a retrain that did not come to train, and forgetting a user, let the copy go', async () => {
  for (const runId of ['night-1', 'run-3']) {
    appendLate();
    const { digest, snapshot } = await found(runId, AS_OF);
    if (runId === 'night-1') await recordRetrain(store, { runId, status: {} });
    else await forgetUser(store, { countRows: async () => 0 });
    appendLate();
    expect((await found(runId, AS_OF)).digest).not.toBe(digest);
    expect(await kept()).toContain(snapshot?.interactions.sha256);
  }
});

test('files without a cut-off are found as they are now', async () => {
  const first = await found('plain');
  expect(first.snapshot).toBeUndefined();
  appendLate();
  expect((await found('plain')).digest).not.toBe(first.digest);
});
