import { expect } from 'vitest';
import { latestCheckpoint, saveCheckpoint } from '../../artifacts/checkpoints.ts';
import type { FileSystem } from '../../artifacts/file-system.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { getTile, putTile } from '../../artifacts/tiles.ts';
import { bytesOf, FINGERPRINT, KEY, manifestOf } from './fixtures.ts';

export const ROOT = '/store';

/** How far the scenario had come: what was promised, and what may be there without having been promised. */
export interface Progress {
  promised: number;
  begun: number;
}

type Step = (store: Store) => Promise<void>;

function checkpointStep(step: number): Step {
  return async (store) => {
    const save = { position: [1, step, 0], fingerprint: FINGERPRINT, blob: bytesOf(`checkpoint ${step}`) };
    const { outcome } = await saveCheckpoint(store, KEY, save);
    expect(['saved', 'equal']).toContain(outcome);
  };
}

function pointerStep(n: number, value: string): Step {
  return async (store) => {
    const current = (await store.readRef('current'))?.n ?? 0;
    if (current < n) await store.advanceRef('current', current, value);
  };
}

/** Each step may be done again by whoever finds it undone; together they write every kind of thing. */
export const STEPS: Step[] = [
  checkpointStep(1),
  checkpointStep(2),
  async (store) => {
    await putTile(store, KEY, 0, { bytes: bytesOf('tile'), meta: { rows: 8 }, fingerprint: FINGERPRINT });
  },
  checkpointStep(3),
  async (store) => {
    const titles = await store.putBytes(bytesOf('titles'));
    const vectors = await store.putBytes(bytesOf('vectors', 3000));
    await store.writeManifest(KEY, manifestOf(KEY, { titles, vectors }));
  },
  pointerStep(1, 'first'),
  checkpointStep(4),
  pointerStep(2, 'second'),
  checkpointStep(5),
];

/** Runs steps from `progress.promised` on; `progress` is kept up to date for whoever looks in from outside. */
export async function runSteps(fs: FileSystem, progress: Progress): Promise<void> {
  const store = await openStore(ROOT, { fs, create: true });
  while (progress.promised < STEPS.length) {
    progress.begun = progress.promised + 1;
    await STEPS[progress.promised]?.(store);
    progress.promised = progress.begun;
  }
}

/**
 * Opens the store and demands: all that was promised is there, what was not promised is either there whole or not at
 * all, and nothing else is read.
 */
export async function requireSound(fs: FileSystem, { promised, begun }: Progress): Promise<void> {
  if (promised === 0) await openStore(ROOT, { fs, create: true });
  const store = await openStore(ROOT, { fs, readOnly: true });
  const done = await doneCounts(store);
  const low = expectedCounts(promised);
  const high = expectedCounts(begun);
  for (const kind of ['checkpoint', 'tile', 'manifest', 'pointer'] as const) {
    if (done[kind] >= low[kind] && done[kind] <= high[kind]) continue;
    throw new Error(`${kind}: expected ${low[kind]} to ${high[kind]}, found ${done[kind]}`);
  }
}

interface Counts {
  checkpoint: number;
  tile: number;
  manifest: number;
  pointer: number;
}

/** What is there after so many of STEPS. */
function expectedCounts(steps: number): Counts {
  const upTo = (indices: number[]) => indices.filter((index) => index < steps).length;
  return { checkpoint: upTo([0, 1, 3, 6, 8]), tile: upTo([2]), manifest: upTo([4]), pointer: upTo([5, 7]) };
}

/** What a reader finds, content compared. */
async function doneCounts(store: Store): Promise<Counts> {
  const latest = await latestCheckpoint(store, KEY);
  const checkpoint = latest?.position[1] ?? 0;
  if (latest) await requireBytes(store, latest.blob, `checkpoint ${checkpoint}`);
  const tile = await getTile(store, KEY, 0);
  if (tile) await requireBytes(store, tile.blob, 'tile');
  const manifest = await store.readManifest(KEY);
  if (manifest) await requireBytes(store, manifest.outputs['titles'], 'titles');
  if (manifest) await requireBytes(store, manifest.outputs['vectors'], 'vectors', 3000);
  const pointer = await store.readRef('current');
  if (pointer && pointer.value !== ['first', 'second'][pointer.n - 1]) throw new Error(`pointer says ${pointer.value}`);
  return { checkpoint, tile: tile ? 1 : 0, manifest: manifest ? 1 : 0, pointer: pointer?.n ?? 0 };
}

async function requireBytes(store: Store, ref: Parameters<Store['getBytes']>[0] | undefined, seed: string, size = 100) {
  if (!ref || !bytesOf(seed, size).equals(await store.getBytes(ref))) throw new Error(`${seed}: other bytes`);
}
