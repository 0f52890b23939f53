import { SoftflowError } from '../errors.ts';
import { trashPath } from './blobs.ts';
import { eraseForgotten } from './erase.ts';
import { digestsIn, type StoredRecord, storedRecords } from './inventory.ts';
import { ManifestSchema } from './manifest.ts';
import type { Store } from './store.ts';
import { TEMPORARY_PREFIX } from './store-folder.ts';
import { asTombstone } from './tombstones.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

export interface CollectGarbageOptions {
  /**
   * How long a thing must have lain unused before it is set aside, and then again before it goes. Longer than any step
   * takes from its first artifact to its manifest.
   * @default 24 h
   */
  graceMs?: number;
  /** Say what would be done and do nothing. @default false */
  dryRun?: boolean;
  /** @default Date.now */
  now?: () => number;
}

export interface GarbageReport {
  /** Blobs that something refers to. */
  live: number;
  /** Blobs set aside now; they come back by themselves if anybody asks for them. */
  setAside: string[];
  /** Blobs set aside earlier that are in use after all. */
  restored: string[];
  /** Blobs set aside earlier that are gone now. */
  deleted: string[];
  /** Bytes freed now. */
  bytesFreed: number;
  /** Tiles and checkpoints of finished steps, and unfinished files, that are gone now. */
  removed: string[];
  /** Files of steps that were forgotten on request, gone without a grace period. */
  erased: string[];
}

/**
 * Collects garbage beside running writers, without a lock, in two phases: what nothing refers to is moved to `trash/`;
 * what still lies there unused after the grace period goes for good in a later call. Whoever reads or names a blob in
 * between gets it back.
 *
 * Only what was forgotten on request goes at once.
 *
 * @throws SoftflowError `GC_REFUSED` if nothing at all is referred to, or a record cannot be read: then what is in use is
 * not known
 */
export async function collectGarbage(store: Store, options: CollectGarbageOptions = {}): Promise<GarbageReport> {
  const { graceMs = DAY_MS, dryRun = false, now = Date.now } = options;
  const { erased, bytesErased } = await eraseForgotten(store, dryRun);
  const report: GarbageReport = {
    live: 0,
    setAside: [],
    restored: [],
    deleted: [],
    removed: [],
    erased,
    bytesFreed: bytesErased,
  };
  const collection = new Collection(store, now() - graceMs, dryRun, report);
  const live = await collection.findLive();
  await collection.removeTemporaries('.');
  await collection.removeFinishedSteps();
  await collection.emptyTrash(live);
  await collection.setAside(live);
  return report;
}

class Collection {
  readonly #store: Store;
  /** Nothing changed after this time is touched. */
  readonly #cutoff: number;
  readonly #dryRun: boolean;
  readonly #report: GarbageReport;
  readonly #workRecords: StoredRecord[] = [];

  constructor(store: Store, cutoff: number, dryRun: boolean, report: GarbageReport) {
    this.#store = store;
    this.#cutoff = cutoff;
    this.#dryRun = dryRun;
    this.#report = report;
  }

  /** Digests of everything in use. */
  async findLive(): Promise<Set<string>> {
    const live = new Set<string>();
    const forgotten = new Set<string>();
    const superseded = new Set<string>();
    for await (const record of storedRecords(this.#store)) {
      if (record.state === 'unreadable') throw refused(`${record.path} cannot be read`, record.error);
      if (record.area === 'tiles' || record.area === 'checkpoints') this.#workRecords.push(record);
      if (record.area === 'manifests' && asTombstone(record.value)) forgotten.add(record.owner);
      if (record.state !== 'whole' || (record.area === 'manifests' && forgotten.has(record.owner))) continue;
      if (isSources(record) && superseded.has(record.series.directory)) continue;
      superseded.add(record.series.directory);
      for (const digest of digestsIn(inUse(record))) live.add(digest);
    }
    const blobs = await this.#store.folder.list('blobs');
    this.#report.live = blobs.filter((name) => live.has(name)).length;
    if (blobs.length > 0 && this.#report.live === 0) throw refused('no record refers to any blob', undefined);
    return live;
  }

  /** Unfinished files of processes that died. */
  async removeTemporaries(directory: string): Promise<void> {
    const { folder } = this.#store;
    for (const name of await folder.listAll(directory)) {
      const path = directory === '.' ? name : `${directory}/${name}`;
      const stat = await folder.stat(path);
      if (stat?.kind === 'directory') await this.removeTemporaries(path);
      else if (name.startsWith(TEMPORARY_PREFIX) && stat && stat.mtimeMs < this.#cutoff) await this.#remove(path);
    }
  }

  /** Tiles and checkpoints whose step has its manifest; records first, so that none names a blob that is gone. */
  async removeFinishedSteps(): Promise<void> {
    const finished = new Set<string>();
    for (const owner of new Set(this.#workRecords.map((record) => record.owner))) {
      if (await this.#store.readManifest(owner)) finished.add(owner);
    }
    for (const { owner, path } of this.#workRecords) {
      if (finished.has(owner) && (await this.#isOld(path))) await this.#remove(path);
    }
    for (const owner of await this.#store.folder.list('checkpoints')) await this.#removeCheckpointBlobs(owner);
  }

  /** Second phase. */
  async emptyTrash(live: Set<string>): Promise<void> {
    for (const sha256 of await this.#store.folder.list('trash')) {
      const isOld = await this.#isOld(trashPath(sha256));
      // In both places: a reader has restored it, or another collection is moving it, which makes it young.
      if (await this.#store.folder.stat(`blobs/${sha256}`)) {
        if (isOld && !this.#dryRun) await this.#store.folder.remove(trashPath(sha256));
      } else if (live.has(sha256)) await this.#restore(sha256);
      else if (isOld) await this.#delete(sha256);
    }
  }

  /** First phase. */
  async setAside(live: Set<string>): Promise<void> {
    for (const sha256 of await this.#store.folder.list('blobs')) {
      if (live.has(sha256) || !(await this.#isOld(`blobs/${sha256}`))) continue;
      this.#report.setAside.push(sha256);
      if (!this.#dryRun) await this.#moveToTrash(sha256);
    }
  }

  async #removeCheckpointBlobs(owner: string): Promise<void> {
    const { folder } = this.#store;
    const [records, blobs] = [`checkpoints/${owner}/records`, `checkpoints/${owner}/blobs`];
    if (!this.#dryRun && (await folder.stat(records))) await folder.syncDirectory(records);
    const named = new Set<string>();
    for (const { owner: step, path, value } of this.#workRecords) {
      if (step === owner && (await folder.stat(path))) for (const digest of digestsIn(value)) named.add(digest);
    }
    for (const name of await folder.list(blobs)) {
      if (!named.has(name) && (await this.#isOld(`${blobs}/${name}`))) await this.#remove(`${blobs}/${name}`);
    }
  }

  async #moveToTrash(sha256: string): Promise<void> {
    const { folder } = this.#store;
    await folder.ensureDirectory('trash');
    // The grace period of the second phase starts here.
    await folder.touch(`blobs/${sha256}`);
    if (!(await folder.linkFrom(`blobs/${sha256}`, trashPath(sha256)))) return;
    await folder.syncDirectory('trash');
    await folder.remove(`blobs/${sha256}`);
    await folder.syncDirectory('blobs');
  }

  async #restore(sha256: string): Promise<void> {
    this.#report.restored.push(sha256);
    if (this.#dryRun) return;
    const { folder } = this.#store;
    await folder.touch(trashPath(sha256));
    if (!(await folder.linkFrom(trashPath(sha256), `blobs/${sha256}`))) return;
    await folder.syncDirectory('blobs');
    await folder.remove(trashPath(sha256));
  }

  async #delete(sha256: string): Promise<void> {
    this.#report.deleted.push(sha256);
    this.#report.bytesFreed += (await this.#store.folder.stat(trashPath(sha256)))?.size ?? 0;
    if (!this.#dryRun) await this.#store.folder.remove(trashPath(sha256));
  }

  async #remove(path: string): Promise<void> {
    this.#report.removed.push(path);
    this.#report.bytesFreed += (await this.#store.folder.stat(path))?.size ?? 0;
    if (!this.#dryRun) await this.#store.folder.remove(path);
  }

  async #isOld(path: string): Promise<boolean> {
    const stat = await this.#store.folder.stat(path);
    return stat !== undefined && stat.mtimeMs < this.#cutoff;
  }
}

/**
 * The part of a record that keeps blobs alive: of a manifest its outputs and result, for its inputs are other steps'
 * outputs and live by those.
 */
function inUse({ area, value }: StoredRecord): unknown {
  if (area !== 'manifests') return value;
  const { data } = ManifestSchema.safeParse(value);
  return [data?.outputs, data?.result];
}

/** Which copy of its data a run reads: of these the newest alone counts. */
const isSources = ({ area, path }: StoredRecord): boolean => area === 'runs' && path.includes('/sources/');

function refused(reason: string, cause: SoftflowError | undefined): SoftflowError {
  const message = `Garbage collection refused: ${reason}, so what is in use is not known. Run \`softflow store verify\` and restore what it names.`;
  return new SoftflowError('GC_REFUSED', message, { details: { reason }, cause });
}
