import { expect, test } from 'vitest';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import type { FileSystem } from '../../artifacts/file-system.ts';
import { collectGarbage } from '../../artifacts/gc.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { listTiles, putTile } from '../../artifacts/tiles.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { changesDisk, dieAt, intercept } from './faulty-file-system.ts';
import { bytesOf, FINGERPRINT, FULL, KEY, manifestOf, OTHER_KEY, seededRandom } from './fixtures.ts';
import { interleaved } from './interleaved.ts';
import { fault, MemoryDisk } from './memory-disk.ts';
import { ROOT } from './scenario.ts';

const GRACE = 1000;

/** A store on a disk whose clock is moved by hand. */
async function clockedStore() {
  const clock = { now: 0 };
  const disk = new MemoryDisk();
  disk.now = () => clock.now;
  const store = await openStore(ROOT, { fs: disk, create: true });
  const collect = (fs: FileSystem = disk, dryRun = false) =>
    openStore(ROOT, { fs }).then((opened) => collectGarbage(opened, { graceMs: GRACE, now: () => clock.now, dryRun }));
  return { clock, disk, store, collect };
}

async function finish(store: Store, key: string, seed: string) {
  const titles = await store.putBytes(bytesOf(seed));
  return store.writeManifest(key, manifestOf(key, { titles }));
}

test('What nothing refers to is set aside after the grace period and gone after another.', async () => {
  const { clock, store, collect } = await clockedStore();
  await finish(store, KEY, 'live');
  const garbage = await store.putBytes(bytesOf('garbage'));
  expect((await collect()).setAside).toEqual([]);
  clock.now += GRACE + 1;
  expect(await collect()).toMatchObject({ live: 1, setAside: [garbage.sha256], deleted: [] });
  expect((await collect()).deleted).toEqual([]);
  clock.now += GRACE + 1;
  expect(await collect()).toMatchObject({ deleted: [garbage.sha256], bytesFreed: 100 });
  expect(await store.has(garbage)).toBe(false);
  expect(await store.folder.list('trash')).toEqual([]);
  expect(await store.readManifest(KEY)).toBeDefined();
});

test('A blob that was set aside comes back when it is read, named or put again.', async () => {
  const uses: ((store: Store) => Promise<unknown>)[] = [
    async (store) => store.getBytes(await reference('late')),
    (store) => finish(store, OTHER_KEY, 'late'),
    async (store) => store.writeManifest(OTHER_KEY, manifestOf(OTHER_KEY, { titles: await reference('late') })),
  ];
  for (const use of uses) {
    const { clock, store, collect } = await clockedStore();
    await finish(store, KEY, 'live');
    await store.putBytes(bytesOf('late'));
    clock.now += GRACE + 1;
    expect((await collect()).setAside).toHaveLength(1);
    await use(store);
    expect(bytesOf('late').equals(await store.getBytes(await reference('late')))).toBe(true);
  }
});

/** The reference of bytes, made in a store of its own. */
async function reference(seed: string) {
  return (await openStore(ROOT, { fs: new MemoryDisk(), create: true })).putBytes(bytesOf(seed));
}

test('What pointers, runs and unfinished steps refer to stays.', async () => {
  const { clock, store, collect } = await clockedStore();
  const pointed = await store.putBytes(bytesOf('pointed'));
  const noted = await store.putBytes(bytesOf('noted'));
  await store.advanceRef('current', 0, { adapter: pointed });
  await store.putRunRecord('night-1', 'summary', { digests: { adapter: noted.sha256 } });
  await putTile(store, KEY, 0, { bytes: bytesOf('tile'), meta: null, fingerprint: FINGERPRINT });
  await saveCheckpoint(store, KEY, { position: [1], fingerprint: FINGERPRINT, blob: bytesOf('checkpoint') });
  for (let cycle = 0; cycle < 3; cycle++) {
    clock.now += GRACE + 1;
    expect(await collect()).toMatchObject({ live: 3, setAside: [], removed: [] });
  }
  expect((await latestCheckpoint(store, KEY))?.position).toEqual([1]);
  expect(await listTiles(store, KEY)).toHaveLength(1);
});

test('Tiles and checkpoints go when their step is finished, and so do files of dead writers.', async () => {
  const { clock, disk, store, collect } = await clockedStore();
  await putTile(store, KEY, 0, { bytes: bytesOf('tile'), meta: null, fingerprint: FINGERPRINT });
  await saveCheckpoint(store, KEY, { position: [1], fingerprint: FINGERPRINT, blob: bytesOf('checkpoint') });
  await finish(store, KEY, 'live');
  await (await disk.createFile(`${ROOT}/blobs/.tmp-0123456789abcdef`, 0o400)).close();
  for (let cycle = 0; cycle < 3; cycle++) {
    clock.now += GRACE + 1;
    await collect();
  }
  expect(await store.folder.listAll('blobs')).toHaveLength(1);
  expect(await store.folder.listAll(`checkpoints/${KEY}/blobs`)).toEqual([]);
  expect(await listTiles(store, KEY)).toEqual([]);
  expect((await verifyStore(store, { readData: true })).findings).toEqual([]);
});

test('The artifacts of a forgotten step go, unless another step has made the same.', async () => {
  const { clock, store, collect } = await clockedStore();
  await finish(store, KEY, 'only here');
  await finish(store, OTHER_KEY, 'shared');
  await store.forgetManifest(KEY);
  clock.now += GRACE + 1;
  expect((await collect()).setAside).toHaveLength(1);
  await store.forgetManifest(OTHER_KEY);
  await finish(store, KEY, 'shared');
  clock.now += GRACE + 1;
  expect(await collect()).toMatchObject({ live: 1, setAside: [] });
});

test('Without anything that refers to a blob, or with a record that cannot be read, nothing is collected. (R10)', async () => {
  const { clock, disk, store, collect } = await clockedStore();
  await store.putBytes(bytesOf(1));
  clock.now += GRACE + 1;
  await expect(collect()).rejects.toMatchObject({ code: 'GC_REFUSED', retryable: false });
  await finish(store, KEY, 'live');
  const fs = intercept(disk, ({ name, path }, run) =>
    name === 'readFile' && path.includes('manifests') ? Promise.reject(fault('EACCES', path)) : run(),
  );
  await expect(collect(fs)).rejects.toMatchObject({ code: 'GC_REFUSED' });
  expect(await store.folder.list('trash')).toEqual([]);
});

test('A dry run says what it would do and writes nothing.', async () => {
  const { clock, disk, store, collect } = await clockedStore();
  await finish(store, KEY, 'live');
  await store.putBytes(bytesOf('garbage'));
  clock.now += GRACE + 1;
  let writes = 0;
  const fs = intercept(disk, (operation, run) => {
    if (changesDisk(operation) && !/\.tmp-/.test(operation.path)) writes++;
    return run();
  });
  expect((await collect(fs, true)).setAside).toHaveLength(1);
  expect(writes).toBe(0);
});

/** Collects with garbage in both phases and a blob to restore, dying at write `k`; returns the writes it came to. */
async function collectUntil(k: number): Promise<number> {
  const { clock, disk, store, collect } = await clockedStore();
  await finish(store, KEY, 'live');
  for (const name of ['garbage', 'late']) await store.putBytes(bytesOf(name));
  await saveCheckpoint(store, KEY, { position: [1], fingerprint: FINGERPRINT, blob: bytesOf('checkpoint') });
  clock.now += GRACE + 1;
  await collect();
  await store.putBytes(bytesOf('more garbage'));
  const [live, late] = [await reference('live'), await reference('late')];
  await store.advanceRef('current', 0, late);
  clock.now += GRACE + 1;
  let writes = 0;
  const counting = intercept(disk, (operation, run) => {
    if (changesDisk(operation)) writes++;
    return run();
  });
  await collect(dieAt(counting, k, 'after')).catch(() => undefined);
  const written = writes;
  for (let cycle = 0; cycle < 3; cycle++) {
    clock.now += GRACE + 1;
    await collect();
  }
  for (const [ref, seed] of [
    [live, 'live'],
    [late, 'late'],
  ] as const) {
    expect(bytesOf(seed).equals(await store.getBytes(ref))).toBe(true);
  }
  expect(await store.folder.listAll('blobs')).toEqual([live.sha256, late.sha256].sort());
  expect(await store.folder.listAll('trash')).toEqual([]);
  return written;
}

test('A collection killed at any write loses nothing that is in use, and the next ones finish its work. (R10)', async (context) => {
  const writes = await collectUntil(Number.POSITIVE_INFINITY);
  expect(writes).toBeGreaterThan(15);
  faultFigure(context, writes, 'killed at every write');
  for (let k = 1; k <= writes; k++) expect(await collectUntil(k)).toBe(k);
});

const ORDERS = FULL ? 1000 : 300;

test('In hundreds of orders of two collections and four writers that use old blobs, nothing in use is lost. (R10)', async (context) => {
  faultFigure(context, ORDERS, 'orders of two collections and four writers');
  for (let seed = 0; seed < ORDERS; seed++) {
    const { clock, disk, store, collect } = await clockedStore();
    const random = seededRandom(seed);
    await finish(store, 'f'.repeat(64), 'live');
    for (const name of ['old 0', 'old 1', 'old 2']) await store.putBytes(bytesOf(name));
    clock.now += GRACE + 1;
    if (random(2) === 1) await collect();
    clock.now += random(2) * (GRACE + 1);
    const fs = interleaved(disk, random);
    const write = async (writer: number) => {
      const mine = await openStore(ROOT, { fs, readOnly: true });
      // So that some come while the collection still lists, and some while it moves.
      for (let turns = random(120); turns > 0; turns--) await fs.stat(ROOT);
      return finish(mine, String(writer).repeat(64), `old ${random(3)}`);
    };
    await Promise.all([...[1, 2, 3, 4].map(write), collect(fs), collect(fs)]);
    for (const key of await store.listManifests()) {
      const titles = (await store.readManifest(key))?.outputs['titles'];
      if (!titles) throw new Error(`seed ${seed}: manifest ${key} lost its output`);
      await store.getBytes(titles);
    }
    for (let cycle = 0; cycle < 3; cycle++) {
      clock.now += GRACE + 1;
      await collect();
    }
    const live = new Set<string>();
    for (const key of await store.listManifests())
      live.add((await store.readManifest(key))?.outputs['titles']?.sha256 ?? '');
    expect(await store.folder.list('blobs'), `seed ${seed}`).toEqual([...live].sort());
    expect(await store.folder.list('trash')).toEqual([]);
  }
}, 120_000);
