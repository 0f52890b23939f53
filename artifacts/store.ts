import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { SoftflowError } from '../errors.ts';
import { type ArtifactRef, ArtifactRefSchema } from './artifact-ref.ts';
import { type BlobMeta, Blobs } from './blobs.ts';
import { type FileSystem, nodeFileSystem } from './file-system.ts';
import { type Manifest, ManifestSchema, requireManifest } from './manifest.ts';
import { positionSlot, requireDigest, requireName } from './names.ts';
import { RecordSeries } from './record-series.ts';
import type { StoreFolder } from './store-folder.ts';
import { openFolder } from './store-format.ts';
import { asTombstone, stepForgotten, type Tombstone, tombstone } from './tombstones.ts';

export type { Manifest } from './manifest.ts';

export interface OpenStoreOptions {
  /** @default the machine's own files */
  fs?: FileSystem;
  /** Make the store if there is none. @default false */
  create?: boolean;
  /** Write nothing at all, not even the probe for hard links. @default false */
  readOnly?: boolean;
}

/** A numbered record: the first is 1, the highest counts. */
export interface Numbered {
  n: number;
  value: unknown;
}

/**
 * Opens a store.
 *
 * @throws SoftflowError `NOT_A_STORE` (nothing there, or something else), `STORE_VERSION_UNSUPPORTED`,
 * `STORE_NO_HARD_LINKS`, `STORE_DAMAGED`, or a file error
 */
export async function openStore(root: string, options: OpenStoreOptions = {}): Promise<Store> {
  const { fs = nodeFileSystem, create = false, readOnly = false } = options;
  return new Store(await openFolder(resolve(root), fs, create && !readOnly, readOnly));
}

/**
 * Content-addressed artifacts, manifests of finished steps, pointers, records of runs, and what unfinished steps have
 * saved. Everything is create-only and durable when a call returns; any number of processes may use one store.
 *
 * Every method may throw SoftflowError `STORE_FULL`, `STORE_DENIED` (neither retryable), `STORE_IO` (retryable) and,
 * for a name or key that is not one, `STORE_NAME_INVALID`.
 */
export class Store {
  readonly root: string;
  /** For the modules of this folder only. */
  readonly folder: StoreFolder;
  readonly #blobs: Blobs;

  constructor(folder: StoreFolder) {
    this.root = folder.root;
    this.folder = folder;
    this.#blobs = new Blobs(folder, 'blobs', (sha256) => this.findProducer(sha256));
  }

  putBytes(bytes: Uint8Array, meta?: BlobMeta): Promise<ArtifactRef> {
    return this.#blobs.putBytes(bytes, meta);
  }

  /** Copies a file of any size. */
  putFile(path: string, meta?: BlobMeta): Promise<ArtifactRef> {
    return this.#blobs.putFile(path, meta);
  }

  /**
   * The content of a blob, checked against size and digest before it is returned.
   *
   * @throws SoftflowError `STORE_MISSING`, `STORE_DAMAGED`
   */
  async getBytes(ref: ArtifactRef): Promise<Uint8Array> {
    return this.blobsOf(ref).getBytes(ref);
  }

  /**
   * The path of a blob, its content checked at first use and whenever the file has changed.
   *
   * @throws SoftflowError `STORE_MISSING`, `STORE_DAMAGED`
   */
  async pathOf(ref: ArtifactRef): Promise<string> {
    return this.blobsOf(ref).pathOf(ref);
  }

  /** Whether a blob is there with the right size; `getBytes` and `pathOf` check the content. */
  async has(ref: ArtifactRef): Promise<boolean> {
    return this.blobsOf(ref).has(ref);
  }

  /** The manifest of a finished step; undefined if there is none, if it was forgotten or lost an output. */
  async readManifest(key: string): Promise<Manifest | undefined> {
    const latest = await this.#latestManifest(key);
    return latest && 'forgotten' in latest ? undefined : latest;
  }

  /** Whether a step was forgotten on request: then it is not made again. */
  async isForgotten(key: string): Promise<boolean> {
    const latest = await this.#latestManifest(key);
    return latest !== undefined && 'forgotten' in latest && latest.onRequest === true;
  }

  /**
   * Records a step as finished. The first writer wins.
   *
   * @returns the manifest that counts: the winner's
   * @throws SoftflowError `MANIFEST_INVALID`, `STORE_MISSING` when an output is not in the store, `STEP_FORGOTTEN` when the
   * step was forgotten on request
   */
  async writeManifest(key: string, manifest: Manifest): Promise<Manifest> {
    await requireManifest(this, key, manifest);
    for (;;) {
      const next = ((await this.#manifests(key).numbers())[0] ?? 0) + 1;
      const latest = await this.#latestManifest(key);
      if (latest && !('forgotten' in latest)) return latest;
      if (latest?.onRequest) throw stepForgotten(key);
      if (await this.#manifests(key).create(next, manifest)) return manifest;
    }
  }

  /**
   * Makes a step count as not done. Its blobs go with the next garbage collections; `onRequest`, at once with the next
   * one, and the step is refused from then on.
   */
  async forgetManifest(key: string, { onRequest = false } = {}): Promise<void> {
    await this.#manifests(key).append(tombstone(onRequest));
  }

  /** Keys of all steps that have a manifest, whole or not. */
  async listManifests(): Promise<string[]> {
    return this.folder.list('manifests');
  }

  /** The value of a pointer; undefined if it was never set. */
  async readRef(name: string): Promise<Numbered | undefined> {
    return this.#refs(name).latest((value) => value);
  }

  /**
   * Moves a pointer from number `expectedN` (0: not set yet) to the next, if nobody else has.
   *
   * @returns whether this call moved it, and where it stands now
   */
  async advanceRef(name: string, expectedN: number, value: unknown): Promise<{ won: boolean } & Numbered> {
    const series = this.#refs(name);
    for (;;) {
      // Above damaged numbers too, which nobody reads but whose names are taken; and listed before the pointer is read,
      // so that whoever moves it in between has taken this very number.
      const next = ((await series.numbers())[0] ?? 0) + 1;
      const current = (await this.readRef(name)) ?? { n: 0, value: undefined };
      if (current.n !== expectedN) return { won: false, ...current };
      if (await series.create(next, value)) return { won: true, n: next, value };
    }
  }

  /** All values a pointer has had, oldest first. */
  async listRef(name: string): Promise<Numbered[]> {
    return this.#refs(name).readAll();
  }

  /** Names of all pointers. */
  async listRefs(): Promise<string[]> {
    return this.folder.list('refs');
  }

  /** Adds a record of a run (its config, its summary ...); the newest of a kind counts, and `kept` of them stay. */
  async putRunRecord(runId: string, kind: string, value: unknown, kept = Number.POSITIVE_INFINITY): Promise<number> {
    const n = await this.#run(runId, kind).append(value);
    if (n > kept) await this.#run(runId, kind).remove({ slot: '', n: n - kept });
    return n;
  }

  /** The newest whole record of a kind. */
  async readRunRecord(runId: string, kind: string): Promise<Numbered | undefined> {
    return this.#run(runId, kind).latest((value) => value);
  }

  /** When a record of a run was written, in milliseconds since the epoch. */
  async runRecordTime(runId: string, kind: string, n: number): Promise<number | undefined> {
    return this.#run(runId, kind).createdAt({ slot: '', n });
  }

  /** All whole records of a kind, oldest first. */
  async listRunRecords(runId: string, kind: string): Promise<Numbered[]> {
    return this.#run(runId, kind).readAll();
  }

  async listRuns(): Promise<string[]> {
    return this.folder.list('runs');
  }

  /** Notes that a trainer died with this position in progress. @returns how often that has happened */
  async countDeath(stepKey: string, position: readonly number[], details: unknown = null): Promise<number> {
    await this.#deaths(stepKey).append(details, positionSlot(position));
    return (await this.deathsAt(stepKey, position)).length;
  }

  /** The details of each death at a position, oldest first. */
  async deathsAt(stepKey: string, position: readonly number[]): Promise<unknown[]> {
    return (await this.#deaths(stepKey).readAll(positionSlot(position))).map(({ value }) => value);
  }

  /** Adds circumstances of a step's run (times, resumes, rates), which stay apart from its result. */
  async addTelemetry(stepKey: string, value: unknown): Promise<number> {
    return this.#telemetry(stepKey).append(value);
  }

  /** All circumstances noted for a step, oldest first. */
  async readTelemetry(stepKey: string): Promise<unknown[]> {
    return (await this.#telemetry(stepKey).readAll()).map(({ value }) => value);
  }

  /** Keeps the evidence of two results where there should be one; garbage collection leaves its blobs. */
  async keepConflict(stepKey: string, value: unknown): Promise<void> {
    await new RecordSeries(this.folder, `conflicts/${requireDigest(stepKey)}`).append(value);
  }

  /** The blobs among which a reference points. @throws SoftflowError `STORE_NAME_INVALID` */
  blobsOf(ref: ArtifactRef): Blobs {
    const parsed = ArtifactRefSchema.safeParse(ref);
    if (!parsed.success) {
      const found = JSON.stringify(ref)?.slice(0, 200);
      throw new SoftflowError(
        'STORE_NAME_INVALID',
        `Not an artifact reference: ${found}. ${z.prettifyError(parsed.error)}`,
        {
          details: { found },
        },
      );
    }
    return ref.uri.startsWith('blobs/') ? this.#blobs : this.blobsIn(dirname(ref.uri));
  }

  /** Blobs kept apart from the artifacts, for the modules of this folder only. */
  blobsIn(directory: string): Blobs {
    return new Blobs(this.folder, directory, (sha256) => this.findProducer(sha256));
  }

  /** `name (key)` of the step whose manifest names a blob. Reads all manifests, so for error messages only. */
  async findProducer(sha256: string): Promise<string | undefined> {
    const manifest = await this.findManifest(sha256);
    return manifest && `${manifest.step} (${manifest.key})`;
  }

  /** A manifest that names a blob as an output, whether its outputs are there or not. Reads all manifests. */
  async findManifest(sha256: string): Promise<Manifest | undefined> {
    for (const key of await this.listManifests()) {
      const manifest = await this.readLatestManifest(key);
      if (Object.values(manifest?.outputs ?? {}).some((output) => output.sha256 === sha256)) return manifest;
    }
    return undefined;
  }

  /** What a step was and made, whether its outputs are there or not, and also when it was forgotten. */
  async readLatestManifest(key: string): Promise<Manifest | undefined> {
    return (await this.#manifests(key).latest((value) => ManifestSchema.safeParse(value).data))?.value;
  }

  async #latestManifest(key: string): Promise<Manifest | Tombstone | undefined> {
    return (await this.#manifests(key).latest((value) => this.#acceptManifest(key, value)))?.value;
  }

  async #acceptManifest(key: string, value: unknown): Promise<Manifest | Tombstone | undefined> {
    const forgotten = asTombstone(value);
    if (forgotten) return forgotten;
    const { data } = ManifestSchema.safeParse(value);
    if (data?.key !== key) return undefined;
    return (await this.#allPresent(Object.values(data.outputs))) ? data : undefined;
  }

  async #allPresent(refs: ArtifactRef[]): Promise<boolean> {
    for (const ref of refs) if (!(await this.has(ref))) return false;
    return true;
  }

  #manifests(key: string): RecordSeries {
    return new RecordSeries(this.folder, `manifests/${requireDigest(key)}`);
  }

  #refs(name: string): RecordSeries {
    return new RecordSeries(this.folder, `refs/${requireName(name, 'pointer name')}`);
  }

  #run(runId: string, kind: string): RecordSeries {
    return new RecordSeries(this.folder, `runs/${requireName(runId, 'run id')}/${requireName(kind, 'record kind')}`);
  }

  #deaths(stepKey: string): RecordSeries {
    return new RecordSeries(this.folder, `deaths/${requireDigest(stepKey)}`);
  }

  #telemetry(stepKey: string): RecordSeries {
    return new RecordSeries(this.folder, `telemetry/${requireDigest(stepKey)}`);
  }
}
