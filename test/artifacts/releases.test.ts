import { expect, test } from 'vitest';
import { promoteRun } from '../../artifacts/decisions.ts';
import type { FileSystem } from '../../artifacts/file-system.ts';
import { currentRelease, promoteRelease, releaseMoves, rollbackRelease } from '../../artifacts/releases.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { changesDisk, Dead, dieAt, intercept } from './faulty-file-system.ts';
import { newStore, seededRandom } from './fixtures.ts';
import { interleaved } from './interleaved.ts';
import { MemoryDisk } from './memory-disk.ts';
import { keyOf, promotion, writeRelease } from './release-steps.ts';
import { ROOT } from './scenario.ts';

async function storeWith(...names: string[]): Promise<Store> {
  const store = await newStore();
  for (const name of names) await writeRelease(store, name);
  return store;
}

test('A first promotion makes a release current, and its record names every file of it.', async () => {
  const store = await storeWith('a');
  expect(await currentRelease(store)).toBeUndefined();
  const moved = await promoteRelease(store, promotion('a', 0));
  expect(moved.won).toBe(true);
  const current = await currentRelease(store);
  expect(current).toEqual(moved.current);
  expect(current).toMatchObject({ number: 1, move: 'promote', release: keyOf('a'), runId: 'run-a', from: null });
  expect(Object.keys(current?.files ?? {}).sort()).toEqual(['adapter/adapter_model.safetensors', 'metrics.json']);
  for (const ref of Object.values(current?.files ?? {})) expect((await store.getBytes(ref)).length).toBe(ref.bytes);
});

test('A promotion that was decided against an older champion loses and is told the new one.', async () => {
  const store = await storeWith('a', 'b', 'c');
  await promoteRelease(store, promotion('a', 0));
  await promoteRelease(store, promotion('b', 1));
  const late = await promoteRelease(store, promotion('c', 1));
  expect(late).toMatchObject({ won: false, current: { number: 2, release: keyOf('b') } });
  expect(await promoteRelease(store, promotion('c', 0))).toMatchObject({ won: false, current: { number: 2 } });
  expect((await currentRelease(store))?.release).toBe(keyOf('b'));
});

test('A promotion that is asked for again by the same request has been done once.', async () => {
  const store = await storeWith('a', 'b');
  const first = await promoteRelease(store, { ...promotion('a', 0), request: 'attempt' });
  expect(await promoteRelease(store, { ...promotion('a', 0), request: 'attempt' })).toEqual(first);
  await promoteRelease(store, promotion('b', 1));
  expect(await promoteRelease(store, { ...promotion('a', 0), request: 'attempt' })).toEqual(first);
  expect((await releaseMoves(store)).map(({ release }) => release)).toEqual([keyOf('a'), keyOf('b')]);
});

test('Of several attempts at one request at once one moves, and all are told that they have won.', async () => {
  for (let seed = 0; seed < 10; seed++) {
    const disk = new MemoryDisk();
    await writeRelease(await openStore(ROOT, { fs: disk, create: true }), 'a');
    const fs = interleaved(disk, seededRandom(seed));
    const stores = await Promise.all([1, 2, 3].map(() => openStore(ROOT, { fs })));
    const input = { ...promotion('a', 0), request: 'attempt' };
    const moves = await Promise.all(stores.map((store) => promoteRelease(store, input)));
    for (const move of moves) expect(move).toMatchObject({ won: true, current: { number: 1 } });
    expect(await releaseMoves(await openStore(ROOT, { fs: disk }))).toHaveLength(1);
  }
});

test('What is no whole release is never promoted.', async () => {
  const store = await storeWith('a');
  await expect(promoteRelease(store, promotion('none', 0))).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
  await writeRelease(store, 'other', 'evaluate');
  await expect(promoteRelease(store, promotion('other', 0))).rejects.toThrow(/that is a step evaluate/);
  const adapter = (await store.readManifest(keyOf('a')))?.outputs['adapter/adapter_model.safetensors'];
  await store.folder.remove(adapter?.uri ?? '');
  await expect(promoteRelease(store, promotion('a', 0))).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
  expect(await currentRelease(store)).toBeUndefined();
});

test('A release with a damaged file is found out before it is promoted or gone back to.', async () => {
  const disk = new MemoryDisk();
  const store = await openStore(ROOT, { fs: disk, create: true });
  for (const name of ['a', 'b']) await writeRelease(store, name);
  await promoteRelease(store, promotion('a', 0));
  const adapterOf = async (name: string) =>
    `${ROOT}/${(await store.readManifest(keyOf(name)))?.outputs['adapter/adapter_model.safetensors']?.uri}`;
  disk.overwrite(await adapterOf('b'), Buffer.alloc(3000));
  await expect(promoteRelease(store, promotion('b', 1))).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  await writeRelease(store, 'b');
  await promoteRelease(store, promotion('b', 1));
  disk.overwrite(await adapterOf('a'), Buffer.alloc(3000));
  await expect(rollbackRelease(store, { by: 'anna', reason: '' })).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  expect((await currentRelease(store))?.release).toBe(keyOf('b'));
});

test('A rollback goes back by one promotion, a second by another, and a third has nowhere to go.', async () => {
  const store = await storeWith('a', 'b', 'c');
  for (const [n, name] of ['a', 'b', 'c'].entries()) await promoteRelease(store, promotion(name, n));
  const back = { by: 'anna', reason: 'worse answers' };
  expect(await rollbackRelease(store, back)).toMatchObject({ won: true, current: { number: 4, release: keyOf('b') } });
  expect(await rollbackRelease(store, back)).toMatchObject({ current: { number: 5, release: keyOf('a') } });
  await expect(rollbackRelease(store, back)).rejects.toMatchObject({ code: 'ROLLBACK_IMPOSSIBLE' });
  await promoteRelease(store, promotion('c', 5));
  expect(await rollbackRelease(store, back)).toMatchObject({ current: { number: 7, release: keyOf('a') } });
  const moves = await releaseMoves(store);
  expect(moves.map(({ move, from }) => [move, from])).toEqual([
    ['promote', null],
    ['promote', keyOf('a')],
    ['promote', keyOf('b')],
    ['rollback', keyOf('c')],
    ['rollback', keyOf('b')],
    ['promote', keyOf('a')],
    ['rollback', keyOf('c')],
  ]);
  expect(moves[3]).toMatchObject({ ...back, runId: 'run-b', at: expect.stringMatching(/Z$/) });
});

test('A rollback by name goes to a release that was current once, and to no other.', async () => {
  const store = await storeWith('a', 'b', 'c');
  const to = (name: string) => rollbackRelease(store, { to: keyOf(name), by: 'anna', reason: '' });
  await expect(to('a')).rejects.toThrow(/nothing has been promoted yet/);
  await promoteRelease(store, promotion('a', 0));
  await promoteRelease(store, promotion('b', 1));
  await expect(to('b')).rejects.toThrow(/is current already/);
  await expect(to('c')).rejects.toThrow(/has never been current/);
  expect(await to('a')).toMatchObject({ won: true, current: { release: keyOf('a'), from: keyOf('b') } });
  expect(await to('b')).toMatchObject({ won: true, current: { number: 4, release: keyOf('b') } });
});

test('A number of the series that no version of this code wrote is refused by name.', async () => {
  const store = await storeWith('a');
  await store.advanceRef('current', 0, { release: 'x' });
  const reading = currentRelease(store);
  await expect(reading).rejects.toMatchObject({ code: 'RELEASE_DAMAGED' });
  await expect(reading).rejects.toThrow('refs/current/1');
  await expect(promoteRelease(store, promotion('a', 1))).rejects.toMatchObject({ code: 'RELEASE_DAMAGED' });
});

test('Of several who promote and roll back at once one wins each time, whatever the order of their operations. (R19)', async () => {
  for (let seed = 0; seed < 25; seed++) {
    const disk = new MemoryDisk();
    const plain = await openStore(ROOT, { fs: disk, create: true });
    for (const name of ['first', 'second', 'w0', 'w1', 'w2']) await writeRelease(plain, name);
    await promoteRelease(plain, promotion('first', 0));
    await promoteRelease(plain, promotion('second', 1));
    const fs = interleaved(disk, seededRandom(seed));
    const stores = await Promise.all(['w0', 'w1', 'w2', 'back'].map(() => openStore(ROOT, { fs })));
    const moves = await Promise.all(
      stores.map((store, i) =>
        i === 3 ? rollbackRelease(store, { by: 'back', reason: '' }) : promoteRelease(store, promotion(`w${i}`, 2)),
      ),
    );
    // A rollback that begins after a promotion has won takes that one back: then both have moved, one after the other.
    const won = moves.filter(({ won }) => won).map(({ current }) => current?.number);
    expect(won.sort()).toEqual(Array.from({ length: won.length }, (_, i) => 3 + i));
    expect(moves.slice(0, 3).filter((move) => move.won).length).toBeLessThanOrEqual(1);
    const after = await releaseMoves(plain);
    expect(after).toHaveLength(2 + won.length);
    for (const [i, move] of after.entries()) expect(move.from).toBe(after[i - 1]?.release ?? null);
  }
});

/** A disk on which `old` is current and `new` is finished. */
async function diskWithOld(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const store = await openStore(ROOT, { fs: disk, create: true });
  for (const name of ['old', 'new']) await writeRelease(store, name);
  await promoteRun(store, { ...promotion('old', 0), runId: 'run-old' });
  return disk;
}

/** Opens what is left and demands the old release or the new one, whole. @returns its name */
async function requireOldOrNew(fs: FileSystem): Promise<string> {
  const store = await openStore(ROOT, { fs });
  const current = await currentRelease(store);
  const name = ['old', 'new'].find((candidate) => keyOf(candidate) === current?.release);
  if (!current || !name || current.number !== (name === 'old' ? 1 : 2))
    throw new Error(`current is ${current?.release}`);
  for (const ref of Object.values(current.files)) await store.getBytes(ref);
  return name;
}

const promoteNew = async (fs: FileSystem) =>
  promoteRun(await openStore(ROOT, { fs }), { ...promotion('new', 1), runId: 'run-new', request: 'again' });

test('Whichever write of a promotion fails before, half-way or after, the old release is current or the new. (R19)', async (context) => {
  const found: string[] = [];
  let died = true;
  for (let k = 1; died; k++) {
    for (const moment of ['before', 'half', 'after'] as const) {
      const disk = await diskWithOld();
      died = await promoteNew(dieAt(disk, k, moment)).then(
        () => false,
        (error: unknown) => {
          if (error instanceof Dead || (error instanceof Error && error.cause instanceof Dead)) return true;
          throw error;
        },
      );
      found.push(await requireOldOrNew(disk));
      expect(await promoteNew(disk)).toMatchObject({ won: true, current: { number: 2 } });
      expect(await requireOldOrNew(disk)).toBe('new');
    }
  }
  expect(found.length).toBeGreaterThan(30);
  expect(new Set(found)).toEqual(new Set(['old', 'new']));
  faultFigure(context, found.length, 'writes of a promotion before, half-way, after: old or new');
});

test('After a power cut at any moment of a promotion the old release is current or the new, and a promise is kept. (R19)', async (context) => {
  const random = seededRandom(20261125);
  const choices = [() => 0, (limit: number) => limit - 1, ...Array.from({ length: 14 }, () => random)];
  const disk = await diskWithOld();
  const found: string[] = [];
  const look = async () => {
    for (const choice of choices) found.push(await requireOldOrNew(disk.afterPowerCut(choice)));
  };
  const fs = intercept(disk, async (operation, run) => {
    const result = await run();
    if (changesDisk(operation)) await look();
    return result;
  });
  await promoteNew(fs);
  expect(new Set(found)).toEqual(new Set(['old', 'new']));
  const during = found.length;
  await look();
  expect(new Set(found.slice(during))).toEqual(new Set(['new']));
  faultFigure(context, found.length, 'states of the disk after a power cut: 0 bad');
});
