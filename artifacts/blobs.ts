import { createReadStream } from 'node:fs';
import { SoftflowError } from '../errors.ts';
import type { ArtifactRef } from './artifact-ref.ts';
import { sha256Hex } from './canonical-json.ts';
import { Recent } from './recent.ts';
import { guarded, storeError } from './store-errors.ts';
import { type Chunks, type StoreFolder, slices, type TemporaryFile } from './store-folder.ts';

/** What a reference says beyond digest and size. */
export interface BlobMeta {
  rows?: number;
  schema?: string;
}

/** Finds the step that made a blob, for error messages. */
export type FindProducer = (sha256: string) => Promise<string | undefined>;

/** Blobs of one folder, each named by its SHA-256. */
export class Blobs {
  readonly #folder: StoreFolder;
  readonly #findProducer: FindProducer;
  /** Digest -> identity of the file that was last found to match it. */
  readonly #verified = new Recent<string>();
  readonly directory: string;

  constructor(folder: StoreFolder, directory: string, findProducer: FindProducer) {
    this.#folder = folder;
    this.directory = directory;
    this.#findProducer = findProducer;
  }

  async putBytes(bytes: Uint8Array, meta: BlobMeta = {}): Promise<ArtifactRef> {
    const ref = this.#ref({ sha256: sha256Hex(bytes), bytes: bytes.length }, meta);
    if (await this.#reuse(ref)) return ref;
    await this.#write(() => slices(bytes), bytes.length);
    return ref;
  }

  /** Copies a file of any size into the store. */
  async putFile(path: string, meta: BlobMeta = {}): Promise<ArtifactRef> {
    const { size } = await guarded('read', path, () => this.#folder.fs.stat(path));
    const written = await this.#write(() => readSource(path), size);
    return this.#ref(written, meta);
  }

  /**
   * The content, checked against size and digest before anybody sees it.
   *
   * @throws SoftflowError `STORE_DAMAGED` (retryable once the blob lies in `quarantine/`), `STORE_MISSING` (retryable for a
   * checkpoint only: an artifact's step has to run again)
   */
  async getBytes(ref: ArtifactRef): Promise<Uint8Array> {
    await this.#requirePresent(ref);
    const bytes = await this.#folder.read(this.#pathIn(ref.sha256));
    if (bytes === undefined) throw await this.#missing(ref);
    const found = { sha256: sha256Hex(bytes), bytes: bytes.length };
    if (matches(ref, found)) return bytes;
    throw await this.#damaged(ref, found);
  }

  /**
   * The path of a blob whose content was checked, at first use and whenever the file has changed since.
   *
   * @throws SoftflowError as `getBytes`
   */
  async pathOf(ref: ArtifactRef): Promise<string> {
    const identity = await this.#requirePresent(ref);
    if (this.#verified.get(ref.sha256) !== identity) await this.verify(ref);
    this.#verified.set(ref.sha256, identity);
    return this.#folder.path(this.#pathIn(ref.sha256));
  }

  /** Reads the whole blob and compares. @throws SoftflowError as `getBytes` */
  async verify(ref: ArtifactRef): Promise<void> {
    const found = await this.#folder.hash(this.#pathIn(ref.sha256));
    if (found === undefined) throw await this.#missing(ref);
    if (!matches(ref, found)) throw await this.#damaged(ref, found);
  }

  /** Whether the blob is there with the right size; its content is not read. */
  async has(ref: ArtifactRef): Promise<boolean> {
    const found = await this.#locate(ref.sha256);
    return found?.kind === 'file' && found.size === ref.bytes;
  }

  /** Whether the blob is there and its content is right. */
  async isWhole(ref: ArtifactRef): Promise<boolean> {
    if (!(await this.has(ref))) return false;
    const found = await this.#folder.hash(this.#pathIn(ref.sha256));
    return found !== undefined && matches(ref, found);
  }

  async remove(sha256: string): Promise<void> {
    await this.#folder.remove(this.#pathIn(sha256));
  }

  #ref({ sha256, bytes }: { sha256: string; bytes: number }, meta: BlobMeta): ArtifactRef {
    const known = Object.fromEntries(Object.entries(meta).filter(([, value]) => value !== undefined));
    return { uri: this.#pathIn(sha256), sha256, bytes, ...known };
  }

  #pathIn(sha256: string): string {
    return `${this.directory}/${sha256}`;
  }

  async #write(source: () => Chunks, bytesNeeded: number): Promise<TemporaryFile> {
    const temporary = await this.#folder.writeTemporary(this.directory, source, bytesNeeded);
    try {
      await this.#admit(temporary);
      await this.#folder.syncDirectory(this.directory);
    } finally {
      await this.#folder.discard(temporary.path);
    }
    return temporary;
  }

  /** Gives a temporary file its name, unless a sound blob has it already. */
  async #admit(temporary: TemporaryFile): Promise<void> {
    const target = this.#pathIn(temporary.sha256);
    while (!(await this.#folder.link(temporary.path, target))) {
      if (await this.#isSound(target, temporary)) return;
      if (await this.#replaceDamaged(temporary, target)) return;
    }
  }

  /** Takes a blob that is there already instead of writing it again. */
  async #reuse(ref: ArtifactRef): Promise<boolean> {
    if (!(await this.#folder.stat(ref.uri))) return false;
    await this.#folder.ensureDirectory(this.directory);
    if (!(await this.#isSound(ref.uri, ref))) return false;
    await this.#folder.syncDirectory(this.directory);
    return true;
  }

  /** Whether a blob can be relied on. Touched first, so that garbage collection sees that somebody does. */
  async #isSound(relative: string, expected: { sha256: string; bytes: number }): Promise<boolean> {
    const found = await this.#folder.stat(relative);
    if (found?.kind !== 'file') return false;
    await this.#folder.touch(relative);
    const content = await this.#folder.hash(relative);
    return content !== undefined && matches(expected, content);
  }

  /** Puts a good copy in a damaged blob's place in one step, so that the name is never without a file. */
  async #replaceDamaged(temporary: TemporaryFile, target: string): Promise<boolean> {
    if (!(await this.#folder.stat(target))) return false;
    await this.#keepInQuarantine(temporary.sha256);
    const path = this.#folder.path(target);
    await guarded('repair', path, () => this.#folder.fs.rename(temporary.path, path), temporary.bytes);
    return true;
  }

  /** Gives the file under a blob's name a second name in `quarantine/`. */
  async #keepInQuarantine(sha256: string): Promise<string> {
    await this.#folder.ensureDirectory('quarantine');
    for (let n = 1; ; n++) {
      const kept = `quarantine/${sha256}-${n}`;
      if (await this.#folder.link(this.#folder.path(this.#pathIn(sha256)), kept)) return kept;
    }
  }

  async #requirePresent(ref: ArtifactRef): Promise<string> {
    const found = await this.#locate(ref.sha256);
    if (found === undefined) throw await this.#missing(ref);
    if (found.kind === 'file') return found.identity;
    throw this.#damage(ref, `a ${found.kind}`, await this.#producer(ref), false);
  }

  /** Describes a blob; one that garbage collection has set aside is put back. */
  async #locate(sha256: string) {
    const found = await this.#folder.stat(this.#pathIn(sha256));
    if (found) return found;
    const restored = await this.#folder.linkFrom(trashPath(sha256), this.#pathIn(sha256));
    if (restored) await this.#folder.syncDirectory(this.directory);
    return this.#folder.stat(this.#pathIn(sha256));
  }

  async #missing(ref: ArtifactRef): Promise<SoftflowError> {
    const producer = await this.#producer(ref);
    const path = this.#folder.path(ref.uri);
    const message = `${path} is missing: expected ${ref.bytes} bytes with SHA-256 ${ref.sha256}, made by ${producer}. Run that step again.`;
    // A checkpoint goes when another worker is two further: who looks again finds that one.
    const retryable = !ref.uri.startsWith('blobs/');
    return new SoftflowError('STORE_MISSING', message, { retryable, details: { artifact: ref.uri, producer } });
  }

  async #damaged(ref: ArtifactRef, found: { sha256: string; bytes: number }): Promise<SoftflowError> {
    const producer = await this.#producer(ref);
    // Out of the way, so that manifest, tile or checkpoint no longer count as whole: who tries again makes it anew.
    const outOfTheWay = await this.#setAside(ref.sha256).then(
      () => true,
      () => false,
    );
    return this.#damage(ref, `${found.bytes} bytes with SHA-256 ${found.sha256}`, producer, outOfTheWay);
  }

  #damage(ref: ArtifactRef, found: string, producer: string, retryable: boolean): SoftflowError {
    const path = this.#folder.path(ref.uri);
    const expected = `${ref.bytes} bytes with SHA-256 ${ref.sha256}`;
    const message = `${path} is damaged: expected ${expected}, found ${found}; made by ${producer}. Run that step again.`;
    const details = { artifact: ref.uri, expected, found, producer };
    return new SoftflowError('STORE_DAMAGED', message, { retryable, details });
  }

  async #setAside(sha256: string): Promise<void> {
    const kept = await this.#keepInQuarantine(sha256);
    if ((await this.#folder.hash(kept))?.sha256 === sha256) {
      await this.#folder.remove(kept); // repaired by a writer in the meantime
      return;
    }
    await this.#folder.syncDirectory('quarantine');
    await this.remove(sha256);
    await this.#folder.syncDirectory(this.directory);
  }

  async #producer(ref: ArtifactRef): Promise<string> {
    const found = await this.#findProducer(ref.sha256).catch(() => undefined);
    return found ?? 'an unknown step';
  }
}

/** Where garbage collection keeps a blob before it goes for good. */
export function trashPath(sha256: string): string {
  return `trash/${sha256}`;
}

async function* readSource(path: string): AsyncIterable<Uint8Array> {
  try {
    yield* createReadStream(path, { highWaterMark: 1 << 20 });
  } catch (error) {
    throw storeError(error, 'read', path);
  }
}

function matches(expected: { sha256: string; bytes: number }, found: { sha256: string; bytes: number }): boolean {
  return expected.sha256 === found.sha256 && expected.bytes === found.bytes;
}
