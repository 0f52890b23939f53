import { join } from 'node:path';
import { expect, test } from 'vitest';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { bytesOf, FINGERPRINT, FULL, KEY, manifestOf, seededRandom } from './fixtures.ts';
import { MemoryDisk } from './memory-disk.ts';
import { ROOT } from './scenario.ts';

const CASES = FULL ? 10_000 : 1000;

type Mutation = (bytes: Buffer, random: (limit: number) => number, other: Buffer) => Buffer;

const MUTATIONS: Record<string, Mutation> = {
  bit: (bytes, random) => {
    const copy = Buffer.from(bytes);
    const at = random(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
    return copy;
  },
  byte: (bytes, random) => {
    const copy = Buffer.from(bytes);
    const at = random(copy.length);
    copy[at] = ((copy[at] ?? 0) + 1 + random(255)) & 255;
    return copy;
  },
  truncated: (bytes, random) => bytes.subarray(0, Math.floor((bytes.length * random(64)) / 64)),
  empty: () => Buffer.alloc(0),
  swapped: (bytes) => Buffer.concat([bytes.subarray(bytes.length >> 1), bytes.subarray(0, bytes.length >> 1)]),
  appended: (bytes, random) => Buffer.concat([bytes, Buffer.alloc(1 + random(16), random(256))]),
  another: (_bytes, _random, other) => other,
};

/** Mutates one file many times, each from the good bytes, and calls `demand` on each. */
async function mutate(store: Store, relative: string, other: Uint8Array, demand: () => Promise<void>): Promise<void> {
  const path = join(ROOT, relative);
  const disk = store.folder.fs as MemoryDisk;
  const good = Buffer.from(await disk.readFile(path));
  const random = seededRandom(7);
  const kinds = Object.values(MUTATIONS);
  for (let i = 0; i < CASES / 5; i++) {
    const bad = kinds[i % kinds.length]?.(good, random, Buffer.from(other)) ?? good;
    expect(bad.equals(good)).toBe(false);
    disk.overwrite(path, bad);
    await demand();
    if (!(await store.folder.stat(relative))) await (await disk.createFile(path, 0o400)).close(); // quarantined
    disk.overwrite(path, good);
  }
}

async function filledStore(): Promise<Store> {
  const store = await openStore(ROOT, { fs: new MemoryDisk(), create: true });
  const titles = await store.putBytes(bytesOf('titles', 1000));
  await store.writeManifest(KEY, manifestOf(KEY, { titles }, { rows: 12, loss: 0.25 }));
  await store.advanceRef('current', 0, { release: 'a' });
  await store.advanceRef('other', 0, { release: 'b' });
  for (const step of [1, 2]) {
    await saveCheckpoint(store, KEY, { position: [1, step, 0], fingerprint: FINGERPRINT, blob: bytesOf(step, 1000) });
  }
  return store;
}

test('A mutated artifact is always found before its bytes are handed out, and the error names it and its producer. (R7)', async (context) => {
  faultFigure(context, CASES / 5, 'blobs');
  const store = await filledStore();
  const ref = (await store.readManifest(KEY))?.outputs['titles'];
  if (!ref) throw new Error('no manifest');
  await mutate(store, ref.uri, bytesOf('another', 1000), async () => {
    const error = await store.getBytes(ref).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'STORE_DAMAGED', details: { artifact: ref.uri } });
    expect(String(error)).toContain(`encodeTitles (${KEY})`);
  });
});

test('A mutated manifest is never read, so that its step is done again. (R7)', async (context) => {
  faultFigure(context, CASES / 5, 'manifests');
  const store = await filledStore();
  const other = await store.folder.read('refs/current/1');
  await mutate(store, `manifests/${KEY}/1`, other ?? bytesOf(1), async () => {
    expect(await store.readManifest(KEY)).toBeUndefined();
  });
});

test('A mutated pointer is never followed. (R7)', async (context) => {
  faultFigure(context, CASES / 5, 'pointers');
  const store = await filledStore();
  const other = await store.folder.read('refs/other/1');
  await mutate(store, 'refs/current/1', other ?? bytesOf(1), async () => {
    expect(await store.readRef('current')).toBeUndefined();
  });
});

test.for(['record', 'blob'])('A mutated %s of a checkpoint makes the one before count. (R7)', async (part, context) => {
  faultFigure(context, CASES / 5, `checkpoint ${part}s`);
  const store = await filledStore();
  const blob = (await latestCheckpoint(store, KEY))?.blob.uri ?? '';
  const records = `checkpoints/${KEY}/records`;
  const other = await store.folder.read(`${records}/1.1.0-1`);
  await mutate(store, part === 'blob' ? blob : `${records}/1.2.0-1`, other ?? bytesOf(1), async () => {
    expect((await latestCheckpoint(store, KEY))?.position).toEqual([1, 1, 0]);
  });
  expect((await latestCheckpoint(store, KEY))?.position).toEqual([1, 2, 0]);
});
