import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  latestCheckpoint,
  listCheckpoints,
  type SaveCheckpointInput,
  saveCheckpoint,
} from '../../artifacts/checkpoints.ts';
import type { Store } from '../../artifacts/store.ts';
import { bytesOf, FINGERPRINT, KEY, newStore, OTHER_FINGERPRINT } from './fixtures.ts';

function at(position: number[], rest: Partial<SaveCheckpointInput> = {}): SaveCheckpointInput {
  return { position, fingerprint: FINGERPRINT, blob: bytesOf(position.join('.')), ...rest };
}

async function positions(store: Store): Promise<number[][]> {
  return (await listCheckpoints(store, KEY)).map(({ position }) => position);
}

async function damageBlob(store: Store, position: number[]): Promise<void> {
  const checkpoint = (await listCheckpoints(store, KEY)).find((c) => c.position.join() === position.join());
  const path = join(store.root, checkpoint?.blob.uri ?? 'none');
  await chmod(path, 0o600);
  await writeFile(path, bytesOf('damage'));
}

test('The latest checkpoint is the furthest by number, not by name or by time.', async () => {
  const store = await newStore();
  expect(await latestCheckpoint(store, KEY)).toBeUndefined();
  await saveCheckpoint(store, KEY, at([1, 9, 0], { summary: { loss: 2 } }));
  await saveCheckpoint(store, KEY, at([1, 10, 0], { summary: { loss: 1 } }));
  const latest = await latestCheckpoint(store, KEY);
  expect(latest).toMatchObject({
    position: [1, 10, 0],
    summary: { loss: 1 },
    fingerprint: FINGERPRINT,
    epochEnd: false,
  });
  expect(latest?.ageMs).toBeLessThan(60_000);
  expect(latest && Buffer.from(await store.getBytes(latest.blob))).toEqual(bytesOf('1.10.0'));
});

test('A worker that comes back late moves nothing backwards and leaves nothing behind.', async () => {
  const store = await newStore();
  await saveCheckpoint(store, KEY, at([2, 0, 0]));
  const late = await saveCheckpoint(store, KEY, at([1, 5, 0]));
  expect(late).toMatchObject({ outcome: 'behind', checkpoint: { position: [2, 0, 0] } });
  expect(await positions(store)).toEqual([[2, 0, 0]]);
  expect(await store.folder.list(`checkpoints/${KEY}/blobs`)).toHaveLength(1);
});

test("The last two and every epoch's end are kept; records and blobs of the others go.", async () => {
  const store = await newStore();
  const saved = [
    [1, 1, 0],
    [1, 2, 0],
    [2, 0, 0],
    [2, 1, 0],
    [2, 2, 0],
    [2, 3, 0],
  ];
  for (const position of saved) await saveCheckpoint(store, KEY, at(position, { epochEnd: position[1] === 0 }));
  expect(await positions(store)).toEqual([
    [2, 3, 0],
    [2, 2, 0],
    [2, 0, 0],
  ]);
  expect(await store.folder.list(`checkpoints/${KEY}/blobs`)).toHaveLength(3);
  await saveCheckpoint(store, KEY, at([2, 4, 0], { keep: { last: 1, epochEnds: false } }));
  expect(await positions(store)).toEqual([[2, 4, 0]]);
});

test('A blob that an older and a newer checkpoint share stays when the older one goes.', async () => {
  const store = await newStore();
  for (const step of [1, 2, 3, 4]) await saveCheckpoint(store, KEY, at([1, step, 0], { blob: bytesOf(step % 2) }));
  expect(await positions(store)).toEqual([
    [1, 4, 0],
    [1, 3, 0],
  ]);
  const latest = await latestCheckpoint(store, KEY);
  expect(latest?.position).toEqual([1, 4, 0]);
});

test('When the last checkpoint is damaged the one before counts, and saving the same position again repairs it.', async () => {
  const store = await newStore();
  await saveCheckpoint(store, KEY, at([1, 1, 0]));
  await saveCheckpoint(store, KEY, at([1, 2, 0]));
  await damageBlob(store, [1, 2, 0]);
  expect((await latestCheckpoint(store, KEY))?.position).toEqual([1, 1, 0]);
  await saveCheckpoint(store, KEY, at([1, 2, 0]));
  expect((await latestCheckpoint(store, KEY))?.position).toEqual([1, 2, 0]);
});

test('A damaged checkpoint does not keep another fingerprint from its position.', async () => {
  const store = await newStore();
  await saveCheckpoint(store, KEY, at([1, 2, 0]));
  await damageBlob(store, [1, 2, 0]);
  const other = at([1, 2, 0], { fingerprint: OTHER_FINGERPRINT, blob: bytesOf('other') });
  expect((await saveCheckpoint(store, KEY, other)).outcome).toBe('saved');
  expect((await latestCheckpoint(store, KEY))?.fingerprint).toEqual(OTHER_FINGERPRINT);
});

test('Two writers at one position: equal bytes agree, another fingerprint yields to the first.', async () => {
  const store = await newStore();
  expect((await saveCheckpoint(store, KEY, at([1, 1, 0]))).outcome).toBe('saved');
  expect((await saveCheckpoint(store, KEY, at([1, 1, 0]))).outcome).toBe('equal');
  const other = at([1, 1, 0], { fingerprint: OTHER_FINGERPRINT, blob: bytesOf('other') });
  expect(await saveCheckpoint(store, KEY, other)).toMatchObject({
    outcome: 'firstWins',
    checkpoint: { fingerprint: FINGERPRINT },
  });
});

test('Other bytes at one position under one fingerprint stop the step, and both blobs are kept.', async () => {
  const store = await newStore();
  await saveCheckpoint(store, KEY, at([1, 1, 0]));
  const broken = saveCheckpoint(store, KEY, at([1, 1, 0], { blob: bytesOf('other') }));
  await expect(broken).rejects.toMatchObject({ code: 'DETERMINISM_BROKEN', retryable: false });
  expect(await store.folder.list('blobs')).toHaveLength(2);
  expect(await store.folder.list(`conflicts/${KEY}`)).toEqual(['1']);
});

test('A worker whose checkpoint went while it looked is told to look again.', async () => {
  const store = await newStore();
  await saveCheckpoint(store, KEY, at([1, 1, 0]));
  const seen = await latestCheckpoint(store, KEY);
  if (!seen) throw new Error('no checkpoint');
  for (const step of [2, 3]) await saveCheckpoint(store, KEY, at([1, step, 0]));
  await expect(store.getBytes(seen.blob)).rejects.toMatchObject({ code: 'STORE_MISSING', retryable: true });
});
