import { expect, test } from 'vitest';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { listTiles, putTile } from '../../artifacts/tiles.ts';
import { bytesOf, FINGERPRINT, KEY, manifestOf, OTHER_FINGERPRINT, seededRandom } from './fixtures.ts';
import { interleaved } from './interleaved.ts';
import { MemoryDisk } from './memory-disk.ts';
import { ROOT } from './scenario.ts';

const WRITERS = [0, 1, 2, 3];
const SEEDS = Array.from({ length: 50 }, (_, seed) => seed);

/** One store per writer, all on a disk that serves them in a seeded order. */
async function racingStores(seed: number): Promise<{ stores: Store[]; plain: Store }> {
  const disk = new MemoryDisk();
  const plain = await openStore(ROOT, { fs: disk, create: true });
  const fs = interleaved(disk, seededRandom(seed));
  return { stores: await Promise.all(WRITERS.map(() => openStore(ROOT, { fs }))), plain };
}

test.each([
  ['from nothing', 0],
  ['from where it stands', 2],
])('Of several who move a pointer %s, one wins, whatever the order of their operations. (R12)', async (_, from) => {
  for (const seed of SEEDS) {
    const { stores, plain } = await racingStores(seed);
    for (let n = 0; n < from; n++) await plain.advanceRef('current', n, 'before');
    const moves = await Promise.all(stores.map((store, writer) => store.advanceRef('current', from, writer)));
    const winner = moves.find(({ won }) => won);
    expect(moves.filter(({ won }) => won)).toHaveLength(1);
    for (const move of moves) expect(move).toMatchObject({ n: from + 1, value: winner?.value });
    expect(await plain.listRef('current')).toHaveLength(from + 1);
  }
});

test('A pointer whose newest number is damaged still moves once only. (R12)', async () => {
  for (const seed of SEEDS) {
    const { stores, plain } = await racingStores(seed);
    await plain.advanceRef('current', 0, 'good');
    await (await plain.folder.fs.createFile(`${ROOT}/refs/current/2`, 0o400)).close();
    const moves = await Promise.all(stores.map((store, writer) => store.advanceRef('current', 1, writer)));
    expect(moves.filter(({ won }) => won)).toHaveLength(1);
    expect(new Set(moves.map(({ n }) => n))).toEqual(new Set([3]));
  }
});

test('Of several manifests of one step one counts, and every writer is told which. (R12)', async () => {
  for (const seed of SEEDS) {
    const { stores, plain } = await racingStores(seed);
    const write = async (store: Store, writer: number) => {
      const titles = await store.putBytes(bytesOf('titles'));
      return store.writeManifest(KEY, manifestOf(KEY, { titles }, writer));
    };
    const told = await Promise.all(stores.map(write));
    expect(new Set(told.map(({ result }) => result)).size).toBe(1);
    expect(await plain.readManifest(KEY)).toEqual(told[0]);
    expect(await plain.folder.list(`manifests/${KEY}`)).toEqual(['1']);
  }
});

test('Workers that save the same checkpoints at different speeds agree, and the furthest counts. (R12)', async () => {
  for (const seed of SEEDS) {
    const { stores, plain } = await racingStores(seed);
    const train = async (store: Store, writer: number) => {
      for (let step = 1; step <= 2 + writer; step++) {
        const save = { position: [1, step, 0], fingerprint: FINGERPRINT, blob: bytesOf(step) };
        await saveCheckpoint(store, KEY, save);
      }
    };
    await Promise.all(stores.map(train));
    const latest = await latestCheckpoint(plain, KEY);
    expect(latest?.position).toEqual([1, 5, 0]);
    expect(latest && bytesOf(5).equals(await plain.getBytes(latest.blob))).toBe(true);
  }
});

test('Two fingerprints at one position: the first counts for both. (R12)', async () => {
  for (const seed of SEEDS) {
    const { stores, plain } = await racingStores(seed);
    const save = (store: Store, writer: number) => {
      const fingerprint = writer % 2 === 0 ? FINGERPRINT : OTHER_FINGERPRINT;
      return saveCheckpoint(store, KEY, { position: [1, 1, 0], fingerprint, blob: bytesOf(writer % 2) });
    };
    const saves = await Promise.all(stores.map(save));
    expect(saves.filter(({ outcome }) => outcome === 'saved')).toHaveLength(1);
    const latest = await latestCheckpoint(plain, KEY);
    for (const { checkpoint } of saves) expect(checkpoint.fingerprint).toEqual(latest?.fingerprint);
  }
});

test('Of two results of one tile under one fingerprint one is kept and the other writer is told, in any order. (R12)', async () => {
  for (const seed of SEEDS) {
    const { stores, plain } = await racingStores(seed);
    const put = (store: Store, writer: number) =>
      putTile(store, KEY, 0, { bytes: bytesOf(writer % 2), meta: null, fingerprint: FINGERPRINT });
    const results = await Promise.allSettled(stores.map(put));
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(refused).toHaveLength(2);
    for (const error of refused) expect(error).toMatchObject({ code: 'DETERMINISM_BROKEN' });
    expect(await listTiles(plain, KEY)).toHaveLength(1);
  }
});
