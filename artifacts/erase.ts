import { trashPath } from './blobs.ts';
import { digestsIn, refsIn, type StoredRecord, storedRecords } from './inventory.ts';
import { ManifestSchema } from './manifest.ts';
import type { Store } from './store.ts';
import { asTombstone } from './tombstones.ts';

export interface EraseReport {
  /** Blobs of forgotten steps, in `blobs/`, `trash/` and `quarantine/`. */
  erased: string[];
  bytesErased: number;
}

/**
 * Removes for good, without a grace period, what only steps hold that were forgotten on request: their outputs, tiles
 * and checkpoints, and damaged copies of them. Killed half-way, the next call does the rest.
 *
 * What was put after the step was forgotten stays: then somebody else has made the same bytes and may be about to name
 * them.
 */
export async function eraseForgotten(store: Store, dryRun = false): Promise<EraseReport> {
  const report: EraseReport = { erased: [], bytesErased: 0 };
  const { forgottenAt, digests, work } = await findForgotten(store);
  const remove = async (path: string) => {
    const stat = await store.folder.stat(path);
    if (!stat) return;
    report.erased.push(path);
    report.bytesErased += stat.size;
    if (!dryRun) await store.folder.remove(path);
  };
  for (const key of forgottenAt.keys())
    for (const name of await store.folder.list(`checkpoints/${key}/blobs`))
      await remove(`checkpoints/${key}/blobs/${name}`);
  for (const [sha256, at] of digests)
    for (const path of [`blobs/${sha256}`, trashPath(sha256)]) {
      const stat = await store.folder.stat(path);
      if (stat && stat.mtimeMs <= at) await remove(path);
    }
  for (const name of await store.folder.list('quarantine'))
    if (digests.has(name.slice(0, 64))) await remove(`quarantine/${name}`);
  // Last, because they say which blobs are to go. Nobody goes on from a tile or checkpoint that has lost its blob.
  for (const path of work) await remove(path);
  return report;
}

interface Forgotten {
  /** Step key -> when it was forgotten, in milliseconds since the epoch. */
  forgottenAt: Map<string, number>;
  /** Digest of a blob that no other step has as its output -> when it was forgotten. */
  digests: Map<string, number>;
  /** Paths of the steps' records of tiles, checkpoints and conflicts. */
  work: string[];
}

async function findForgotten(store: Store): Promise<Forgotten> {
  const forgottenAt = await tombstones(store);
  const found: Forgotten = { forgottenAt, digests: new Map(), work: [] };
  if (forgottenAt.size === 0) return found;
  const kept = new Set<string>();
  const settled = new Set<string>();
  for await (const record of storedRecords(store)) {
    const at = forgottenAt.get(record.owner);
    const isWork = WORK_AREAS.has(record.area);
    if (record.area !== 'manifests' && !isWork) continue;
    if (at === undefined && record.area === 'manifests') keepOutputs(record, kept, settled);
    if (at === undefined) continue;
    if (isWork) found.work.push(record.path);
    for (const digest of blobsOf(record)) found.digests.set(digest, Math.max(at, found.digests.get(digest) ?? 0));
  }
  for (const digest of kept) found.digests.delete(digest);
  return found;
}

const WORK_AREAS = new Set<StoredRecord['area']>(['tiles', 'checkpoints', 'conflicts']);

/** Keys of the steps that were forgotten on request, with the time of it. */
async function tombstones(store: Store): Promise<Map<string, number>> {
  const forgottenAt = new Map<string, number>();
  for await (const { owner, value, path } of storedRecords(store, ['manifests'])) {
    if (forgottenAt.has(owner) || !asTombstone(value)?.onRequest) continue;
    if (await store.isForgotten(owner)) forgottenAt.set(owner, (await store.folder.stat(path))?.mtimeMs ?? 0);
  }
  return forgottenAt;
}

/** The highest whole manifest of a step that was not forgotten keeps its outputs, whoever else has made them. */
function keepOutputs({ owner, state, value }: StoredRecord, kept: Set<string>, settled: Set<string>): void {
  if (state !== 'whole' || settled.has(owner)) return;
  settled.add(owner);
  for (const { sha256 } of refsIn(value)) kept.add(sha256);
}

/** Of a manifest its outputs; of tiles, checkpoints and conflicts everything that they name. */
function blobsOf({ area, value }: StoredRecord): string[] {
  return digestsIn(area === 'manifests' ? ManifestSchema.safeParse(value).data?.outputs : value);
}
