import { expect, test } from 'vitest';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import type { FileSystem } from '../../artifacts/file-system.ts';
import { type ForgetOptions, forgetPerson } from '../../artifacts/forget.ts';
import { collectGarbage } from '../../artifacts/gc.ts';
import { type Manifest, openStore, type Store } from '../../artifacts/store.ts';
import { listTiles, putTile } from '../../artifacts/tiles.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { changesDisk, dieAt, intercept } from './faulty-file-system.ts';
import { FINGERPRINT } from './fixtures.ts';
import { MemoryDisk } from './memory-disk.ts';
import { ROOT } from './scenario.ts';

const ANNA = 'anna';
const key = (name: string) => Buffer.from(name).toString('hex').padEnd(64, '0');

/** A table of persons is a list of names here. */
const put = (store: Store, text: string, schema = 'names') => store.putBytes(Buffer.from(text), { schema });

async function finish(
  store: Store,
  name: string,
  inputs: Record<string, ArtifactRef>,
  outputs: Record<string, ArtifactRef>,
  params: unknown = null,
): Promise<Manifest> {
  const digests = Object.fromEntries(Object.entries(inputs).map(([role, { sha256 }]) => [role, sha256]));
  const manifest = { version: 1, step: name, contractVersion: 1, key: key(name), inputs: digests, params } as const;
  return store.writeManifest(key(name), { ...manifest, outputs, result: null, fingerprint: FINGERPRINT });
}

function options(store: Store, name = ANNA): ForgetOptions {
  return {
    countRows: async (ref) => {
      if (ref.schema !== 'names') return 0;
      const names = Buffer.from(await store.getBytes(ref)).toString();
      return names.split(' ').filter((entry) => entry === name).length;
    },
    restsOn: async ({ params }) => (params === null ? [] : [(params as { about: string }).about]),
  };
}

/**
 * Two runs on data with and without Anna: prepared tables, vectors of titles that hold nobody, an adapter, a half-done
 * step, a report that names its model by key alone, and a pointer to the adapter.
 */
async function fill(store: Store): Promise<void> {
  const titles = await put(store, 'titles', 'titles');
  const train = await put(store, 'anna bob anna');
  const test = await put(store, 'carl');
  await finish(store, 'prepare', {}, { titles, train, test });
  await finish(store, 'encode', { titles }, { vectors: await put(store, 'vectors', 'vectors') });
  const adapter = await put(store, 'adapter of anna and bob', 'adapter');
  const config = await put(store, 'same config', 'config');
  await finish(store, 'model', { train }, { adapter, config });
  await finish(store, 'report', {}, { html: await put(store, 'report on anna', 'html') }, { about: key('model') });
  await finish(store, 'evaluate', { test }, { scores: await put(store, 'scores of carl', 'scores') });
  const others = await put(store, 'bob carl');
  await finish(store, 'other prepare', {}, { titles, others });
  await finish(
    store,
    'other model',
    { others },
    { adapter: await put(store, 'adapter of bob and carl', 'adapter'), config },
  );
  for (const [name, input] of [['half', train] as const, ['other half', others] as const]) {
    await store.addTelemetry(key(name), { inputs: { windows: input.sha256 } });
    await putTile(store, key(name), 0, { bytes: Buffer.from(`tile of ${name}`), meta: null, fingerprint: FINGERPRINT });
    const blob = Buffer.from(`checkpoint of ${name}`);
    await saveCheckpoint(store, key(name), { position: [1], fingerprint: FINGERPRINT, blob });
  }
  await store.advanceRef('current', 0, { files: { adapter } });
  await store.advanceRef('current', 1, { release: key('model'), files: { adapter } });
  await store.putRunRecord('night-1', 'status', { steps: [{ key: key('prepare') }, { key: key('model') }] });
  await store.putRunRecord('night-2', 'status', { steps: [{ key: key('other model') }] });
}

async function filledStore(): Promise<{ disk: MemoryDisk; store: Store }> {
  const disk = new MemoryDisk();
  const store = await openStore(ROOT, { fs: disk, create: true });
  await fill(store);
  return { disk, store };
}

/** Texts of all blobs, wherever they lie. */
async function textsIn(store: Store): Promise<string[]> {
  const { folder } = store;
  const keys = await folder.list('checkpoints');
  const folders = ['blobs', 'trash', 'quarantine', ...keys.map((owner) => `checkpoints/${owner}/blobs`)];
  const texts: string[] = [];
  for (const directory of folders)
    for (const name of await folder.list(directory))
      texts.push(Buffer.from((await folder.read(`${directory}/${name}`)) ?? []).toString());
  return texts.sort();
}

const LEFT = [
  'adapter of bob and carl',
  'bob carl',
  'checkpoint of other half',
  'same config',
  'scores of carl',
  'tile of other half',
  'titles',
  'vectors',
];

test('Forgetting a person names their tables and all that was made from them, and leaves nothing of it.', async () => {
  const { store } = await filledStore();
  const report = await forgetPerson(store, options(store));
  expect(report.tables).toEqual([{ step: 'prepare', key: key('prepare'), role: 'train', schema: 'names', rows: 2 }]);
  expect(report.steps.map(({ step }) => step).sort()).toEqual(['model', 'prepare', 'report']);
  expect(report).toMatchObject({ unfinished: [key('half')], pointers: ['current'], runs: ['night-1'] });
  // Also the table of Carl, which the same step has made: that step is not done any more.
  expect(await textsIn(store)).toEqual(LEFT);
  expect((await verifyStore(store, { readData: true })).findings).toEqual([]);
  expect(await latestCheckpoint(store, key('half'))).toBeUndefined();
});

test('What was forgotten is not made again; what was not goes on.', async () => {
  const { store } = await filledStore();
  await forgetPerson(store, options(store));
  const train = await put(store, 'anna bob anna');
  await expect(finish(store, 'prepare', {}, { train })).rejects.toMatchObject({
    code: 'STEP_FORGOTTEN',
    retryable: false,
  });
  await expect(finish(store, 'half', { train }, { adapter: train })).rejects.toMatchObject({ code: 'STEP_FORGOTTEN' });
  expect(await store.isForgotten(key('prepare'))).toBe(true);
  expect(await store.readManifest(key('prepare'))).toBeUndefined();
  expect(await store.isForgotten(key('other model'))).toBe(false);
  await finish(store, 'other half', { train }, { adapter: train });
  expect(await store.readManifest(key('other half'))).toBeDefined();
});

test('A dry run says the same and changes nothing; nobody of that name means nothing is forgotten.', async () => {
  const { disk, store } = await filledStore();
  const before = await textsIn(store);
  let writes = 0;
  const fs = intercept(disk, (operation, run) => {
    if (changesDisk(operation)) writes++;
    return run();
  });
  const counting = await openStore(ROOT, { fs, readOnly: true });
  const planned = await forgetPerson(counting, { ...options(counting), dryRun: true });
  expect([planned.steps.length, planned.unfinished.length, writes]).toEqual([3, 1, 0]);
  expect(await forgetPerson(store, options(store, 'dora'))).toMatchObject({ tables: [], steps: [], unfinished: [] });
  expect(await textsIn(store)).toEqual(before);
});

test('A step whose inputs nobody noted counts as made from them while anything is forgotten.', async () => {
  const { store } = await filledStore();
  await putTile(store, key('unknown'), 0, { bytes: Buffer.from('tile'), meta: null, fingerprint: FINGERPRINT });
  expect((await forgetPerson(store, options(store, 'dora'))).unfinished).toEqual([]);
  expect((await forgetPerson(store, options(store))).unfinished.sort()).toEqual([key('half'), key('unknown')].sort());
  expect(await listTiles(store, key('unknown'))).toEqual([]);
});

test('What a running step finishes from their data meanwhile is forgotten as well.', async () => {
  const { store } = await filledStore();
  const train = (await store.readManifest(key('prepare')))?.outputs['train'] as ArtifactRef;
  const late = await put(store, 'late adapter', 'adapter');
  let finished = false;
  const restsOn = async () => {
    if (!finished) {
      finished = true;
      await finish(store, 'late', { train }, { late });
    }
    return [];
  };
  await forgetPerson(store, { ...options(store), restsOn });
  expect(await store.isForgotten(key('late'))).toBe(true);
  expect(await textsIn(store)).not.toContain('late adapter');
});

test('What somebody else makes again with the same bytes is left to them, also before they have named it.', async () => {
  const { disk, store } = await filledStore();
  let now = Date.now();
  disk.now = () => now;
  await forgetPerson(store, options(store));
  now += 1000;
  const carl = await put(store, 'carl');
  await collectGarbage(store);
  await finish(store, 'cleaned prepare', {}, { test: carl });
  expect(Buffer.from(await store.getBytes(carl)).toString()).toBe('carl');
});

/** Forgets Anna, dying at write `k`; then the next call or the next collection has to finish. Returns the writes done. */
async function forgetUntil(k: number): Promise<number> {
  const { disk, store } = await filledStore();
  let writes = 0;
  const counting = intercept(disk, (operation, run) => {
    if (changesDisk(operation)) writes++;
    return run();
  });
  const forget = async (fs: FileSystem) => {
    const opened = await openStore(ROOT, { fs, readOnly: true });
    return forgetPerson(opened, options(opened));
  };
  await forget(dieAt(counting, k, 'after')).catch(() => undefined);
  const written = writes;
  await forget(disk);
  await collectGarbage(store);
  expect([k, await textsIn(store)]).toEqual([k, LEFT]);
  for (const name of ['prepare', 'model', 'report', 'half']) expect(await store.isForgotten(key(name))).toBe(true);
  expect((await verifyStore(store)).findings).toEqual([]);
  return written;
}

test('Killed at any write, forgetting is finished by the next call.', async () => {
  const writes = await forgetUntil(Number.POSITIVE_INFINITY);
  expect(writes).toBeGreaterThan(20);
  for (let k = 1; k <= writes; k++) expect(await forgetUntil(k)).toBe(k);
});
