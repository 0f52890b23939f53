import { chmod, lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeRecord } from '../../artifacts/record-series.ts';
import { openStore } from '../../artifacts/store.ts';
import { getTile, listTiles, putTile } from '../../artifacts/tiles.ts';
import {
  bytesOf,
  FINGERPRINT,
  KEY,
  manifestOf,
  newStore,
  OTHER_FINGERPRINT,
  OTHER_KEY,
  temporaryFolder,
} from './fixtures.ts';

/** Overwrites a read-only file of the store, as bit rot would. */
async function damage(path: string, content: Uint8Array | string): Promise<void> {
  await chmod(path, 0o600);
  await writeFile(path, content);
}

describe('opening', () => {
  test('A folder without a store is refused unless it is to be made.', async () => {
    const root = join(await temporaryFolder(), 'a', 'b');
    await expect(openStore(root)).rejects.toMatchObject({ code: 'NOT_A_STORE' });
    await openStore(root, { create: true });
    expect((await openStore(root)).root).toBe(root);
    expect((await lstat(root)).mode & 0o777).toBe(0o700);
  });

  test('A folder with foreign files never becomes a store.', async () => {
    const root = await temporaryFolder();
    await writeFile(join(root, 'thesis.txt'), 'x');
    await expect(openStore(root, { create: true })).rejects.toMatchObject({ code: 'NOT_A_STORE' });
    expect(await readdir(root)).toEqual(['thesis.txt']);
  });

  test('A damaged store file is named.', async () => {
    const { root } = await newStore();
    await damage(join(root, 'store.json'), '{}');
    await expect(openStore(root)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });
});

test('A store of another version is refused, with both versions named.', async () => {
  const { root } = await newStore();
  const later = encodeRecord('store.json', { format: 'softflow-store', version: 2 });
  await damage(join(root, 'store.json'), later);
  const opening = openStore(root);
  await expect(opening).rejects.toMatchObject({ code: 'STORE_VERSION_UNSUPPORTED' });
  await expect(opening).rejects.toThrow(/"version":1.*"version":2/);
});

describe('blobs', () => {
  test('Bytes come back under their digest, from a read-only file in a private folder.', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1), { rows: 3, schema: 'items' });
    expect(ref).toEqual({ uri: `blobs/${ref.sha256}`, sha256: ref.sha256, bytes: 100, rows: 3, schema: 'items' });
    expect(Buffer.from(await store.getBytes(ref))).toEqual(bytesOf(1));
    expect((await lstat(await store.pathOf(ref))).mode & 0o777).toBe(0o400);
    expect((await lstat(join(store.root, 'blobs'))).mode & 0o777).toBe(0o700);
    expect(await readdir(join(store.root, 'blobs'))).toEqual([ref.sha256]);
  });

  test('The empty blob is a blob.', async () => {
    const store = await newStore();
    expect(await store.getBytes(await store.putBytes(new Uint8Array()))).toHaveLength(0);
  });

  test('A file larger than the write buffer is copied unchanged.', async () => {
    const store = await newStore();
    const path = join(await temporaryFolder(), 'source');
    await writeFile(path, bytesOf('large', 3_000_001));
    const ref = await store.putFile(path);
    expect(ref).toEqual(await store.putBytes(bytesOf('large', 3_000_001)));
    expect(bytesOf('large', 3_000_001).equals(await readFile(await store.pathOf(ref)))).toBe(true);
  });

  test('A source file that is missing is named, and nothing is left.', async () => {
    const store = await newStore();
    await expect(store.putFile('/nowhere/at/all')).rejects.toThrow('/nowhere/at/all');
    expect(await store.folder.listAll('blobs')).toEqual([]);
  });

  test('A blob that is gone is an error that names it and its producer. (R8)', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    await store.writeManifest(KEY, manifestOf(KEY, { titles: ref }));
    await store.folder.remove(ref.uri);
    await expect(store.getBytes(ref)).rejects.toMatchObject({ code: 'STORE_MISSING', retryable: false });
    await expect(store.pathOf(ref)).rejects.toThrow(`encodeTitles (${KEY})`);
  });

  test('Damage that comes after the first use is found by pathOf.', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    const path = await store.pathOf(ref);
    await damage(path, bytesOf(2));
    await expect(store.pathOf(ref)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
  });

  test('Putting the same bytes again repairs a damaged blob and keeps the damaged one. (R8)', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    await damage(await store.pathOf(ref), bytesOf(2));
    expect(await store.putBytes(bytesOf(1))).toEqual(ref);
    expect(Buffer.from(await store.getBytes(ref))).toEqual(bytesOf(1));
    expect(await readFile(join(store.root, 'quarantine', `${ref.sha256}-1`))).toEqual(bytesOf(2));
  });

  test('A damaged blob is moved to quarantine by the reader that finds it, so that its step counts as not done. (R8)', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    await store.writeManifest(KEY, manifestOf(KEY, { titles: ref }));
    await damage(await store.pathOf(ref), bytesOf(2));
    await expect(store.getBytes(ref)).rejects.toMatchObject({ code: 'STORE_DAMAGED', retryable: true });
    await expect(store.getBytes(ref)).rejects.toMatchObject({ code: 'STORE_MISSING', retryable: false });
    expect(await store.readManifest(KEY)).toBeUndefined();
    await store.putBytes(bytesOf(1));
    expect(await store.readManifest(KEY)).toEqual(manifestOf(KEY, { titles: ref }));
  });
});

describe('manifests', () => {
  test('The first manifest of a key wins; the second writer is told what it says.', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    const first = manifestOf(KEY, { titles: ref }, { seconds: 1 });
    expect(await store.writeManifest(KEY, first)).toEqual(first);
    expect(await store.writeManifest(KEY, manifestOf(KEY, { titles: ref }, { seconds: 2 }))).toEqual(first);
    expect(await readdir(join(store.root, 'manifests', KEY))).toEqual(['1']);
  });

  test('A manifest that lost an output is followed by the next number. (R8)', async () => {
    const store = await newStore();
    const lost = await store.putBytes(bytesOf(1));
    await store.writeManifest(KEY, manifestOf(KEY, { titles: lost }));
    await store.folder.remove(lost.uri);
    const made = await store.putBytes(bytesOf(2));
    await store.writeManifest(KEY, manifestOf(KEY, { titles: made }));
    expect((await store.readManifest(KEY))?.outputs).toEqual({ titles: made });
    expect(await readdir(join(store.root, 'manifests', KEY))).toEqual(['1', '2']);
  });

  test('A manifest cannot name what is not in the store, nor another key.', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    const absent = { ...ref, uri: `blobs/${KEY}`, sha256: KEY };
    await expect(store.writeManifest(KEY, manifestOf(KEY, { titles: absent }))).rejects.toMatchObject({
      code: 'STORE_MISSING',
    });
    await expect(store.writeManifest(KEY, manifestOf(OTHER_KEY, { titles: ref }))).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
    });
    expect(await store.listManifests()).toEqual([]);
  });

  test('A manifest copied to another key counts for nothing there.', async () => {
    const store = await newStore();
    await store.writeManifest(KEY, manifestOf(KEY, {}));
    await mkdir(join(store.root, 'manifests', OTHER_KEY));
    await writeFile(
      join(store.root, 'manifests', OTHER_KEY, '1'),
      await readFile(join(store.root, 'manifests', KEY, '1')),
    );
    expect(await store.readManifest(OTHER_KEY)).toBeUndefined();
  });

  test('A forgotten step counts as not done until it is done again.', async () => {
    const store = await newStore();
    await store.writeManifest(KEY, manifestOf(KEY, {}, 1));
    await store.forgetManifest(KEY);
    expect(await store.readManifest(KEY)).toBeUndefined();
    await store.writeManifest(KEY, manifestOf(KEY, {}, 2));
    expect((await store.readManifest(KEY))?.result).toBe(2);
  });
});

describe('pointers', () => {
  test('A pointer moves only from where the caller saw it.', async () => {
    const store = await newStore();
    expect(await store.readRef('current')).toBeUndefined();
    expect(await store.advanceRef('current', 0, 'a')).toEqual({ won: true, n: 1, value: 'a' });
    expect(await store.advanceRef('current', 0, 'b')).toEqual({ won: false, n: 1, value: 'a' });
    expect(await store.advanceRef('current', 1, 'c')).toEqual({ won: true, n: 2, value: 'c' });
    expect(await store.readRef('current')).toEqual({ n: 2, value: 'c' });
    expect(await store.listRef('current')).toEqual([
      { n: 1, value: 'a' },
      { n: 2, value: 'c' },
    ]);
  });

  test('A damaged number is passed over by readers and by the next move.', async () => {
    const store = await newStore();
    await store.advanceRef('current', 0, 'a');
    await store.advanceRef('current', 1, 'b');
    await damage(join(store.root, 'refs/current/2'), '{');
    expect(await store.readRef('current')).toEqual({ n: 1, value: 'a' });
    expect(await store.advanceRef('current', 1, 'c')).toEqual({ won: true, n: 3, value: 'c' });
    expect(await store.readRef('current')).toEqual({ n: 3, value: 'c' });
  });

  test("One pointer's record copied over another's is not believed.", async () => {
    const store = await newStore();
    await store.advanceRef('current', 0, 'a');
    await store.advanceRef('other', 0, 'b');
    await damage(join(store.root, 'refs/current/1'), await readFile(join(store.root, 'refs/other/1')));
    expect(await store.readRef('current')).toBeUndefined();
  });
});

describe('runs, tiles, deaths and telemetry', () => {
  test('The newest record of a kind counts, and runs are listed.', async () => {
    const store = await newStore();
    await store.putRunRecord('night-1', 'config', { epochs: 1 });
    await store.putRunRecord('night-1', 'summary', { state: 'running' });
    await store.putRunRecord('night-1', 'summary', { state: 'done' });
    expect(await store.readRunRecord('night-1', 'summary')).toEqual({ n: 2, value: { state: 'done' } });
    expect(await store.listRunRecords('night-1', 'summary')).toHaveLength(2);
    expect(await store.readRunRecord('night-2', 'summary')).toBeUndefined();
    expect(await store.listRuns()).toEqual(['night-1']);
  });

  test('Tiles are listed by index, and one that lost its blob is not.', async () => {
    const store = await newStore();
    for (const index of [10, 2, 0])
      await putTile(store, KEY, index, { bytes: bytesOf(index), meta: { rows: 8 }, fingerprint: FINGERPRINT });
    expect((await listTiles(store, KEY)).map(({ index }) => index)).toEqual([0, 2, 10]);
    const tile = await getTile(store, KEY, 2);
    await store.folder.remove(tile?.blob.uri ?? '');
    expect((await listTiles(store, KEY)).map(({ index }) => index)).toEqual([0, 10]);
    await putTile(store, KEY, 2, { bytes: bytesOf(2), meta: { rows: 8 }, fingerprint: FINGERPRINT });
    expect(await getTile(store, KEY, 2)).toEqual(tile);
  });

  test('The same tile with other bytes under one fingerprint breaks determinism; under another the first wins.', async () => {
    const store = await newStore();
    const tile = { bytes: bytesOf(1), meta: null, fingerprint: FINGERPRINT };
    const first = await putTile(store, KEY, 0, tile);
    expect(await putTile(store, KEY, 0, tile)).toEqual(first);
    expect(await putTile(store, KEY, 0, { ...tile, bytes: bytesOf(2), fingerprint: OTHER_FINGERPRINT })).toEqual(first);
    await expect(putTile(store, KEY, 0, { ...tile, bytes: bytesOf(2) })).rejects.toMatchObject({
      code: 'DETERMINISM_BROKEN',
      retryable: false,
    });
    expect(await getTile(store, KEY, 0)).toEqual(first);
  });

  test('Deaths are counted by step and position.', async () => {
    const store = await newStore();
    expect(await store.countDeath(KEY, [1, 2, 3], { signal: 'SIGKILL' })).toBe(1);
    expect(await store.countDeath(KEY, [1, 2, 3], { signal: 'SIGSEGV' })).toBe(2);
    expect(await store.countDeath(KEY, [1, 2, 4])).toBe(1);
    expect(await store.deathsAt(KEY, [1, 2, 3])).toEqual([{ signal: 'SIGKILL' }, { signal: 'SIGSEGV' }]);
    expect(await store.deathsAt(OTHER_KEY, [1, 2, 3])).toEqual([]);
  });

  test('Telemetry of a step accumulates.', async () => {
    const store = await newStore();
    await store.addTelemetry(KEY, { seconds: 1 });
    await store.addTelemetry(KEY, { seconds: 2 });
    expect(await store.readTelemetry(KEY)).toEqual([{ seconds: 1 }, { seconds: 2 }]);
  });
});

describe('symbolic links', () => {
  test('A folder of the store that is a link leads nowhere.', async () => {
    const store = await newStore();
    const outside = await temporaryFolder();
    await symlink(outside, join(store.root, 'refs'));
    await expect(store.advanceRef('current', 0, 1)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    await expect(store.readRef('current')).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    expect(await readdir(outside)).toEqual([]);
  });

  test('A blob or record that is a link is not read, and a blob is replaced.', async () => {
    const store = await newStore();
    const ref = await store.putBytes(bytesOf(1));
    await store.advanceRef('current', 0, 1);
    const outside = join(await temporaryFolder(), 'secret');
    await writeFile(outside, bytesOf(1));
    for (const name of [ref.uri, 'refs/current/1']) {
      await store.folder.remove(name);
      await symlink(outside, join(store.root, name));
    }
    await expect(store.getBytes(ref)).rejects.toMatchObject({ code: 'STORE_DAMAGED' });
    expect(await store.readRef('current')).toBeUndefined();
    await store.putBytes(bytesOf(1));
    expect((await lstat(await store.pathOf(ref))).isFile()).toBe(true);
  });
});
