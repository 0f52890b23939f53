import type { ArtifactRef } from './artifact-ref.ts';
import { type EraseReport, eraseForgotten } from './erase.ts';
import { digestsIn, storedRecords } from './inventory.ts';
import type { Manifest } from './manifest.ts';
import type { Store } from './store.ts';

export interface ForgetOptions {
  /** How many rows of a blob belong to the person; 0 for what is no table of persons. */
  countRows(ref: ArtifactRef): Promise<number>;
  /** Keys of steps from which a step was made without having their outputs among its inputs. */
  restsOn(manifest: Manifest): Promise<string[]>;
  /** Say what would be forgotten and do nothing. @default false */
  dryRun?: boolean;
}

/** A table that holds rows of the person. */
export interface PersonTable {
  step: string;
  key: string;
  /** Name of the output. */
  role: string;
  schema: string;
  rows: number;
}

/** A step that held data of the person or was made from it. */
export interface ForgottenStep {
  step: string;
  key: string;
  /** Of its outputs; some may be another step's as well, and stay. */
  bytes: number;
}

export interface ForgetReport extends EraseReport {
  tables: PersonTable[];
  /** Everything that was made from the tables, and the steps of the tables themselves. */
  steps: ForgottenStep[];
  /** Keys of steps that are not finished and have tiles or checkpoints. */
  unfinished: string[];
  /** Pointers that stand at one of the steps. */
  pointers: string[];
  /** Runs that one of the steps belongs to. */
  runs: string[];
}

/**
 * Forgets a person: every step with rows of theirs among its outputs, and every step that was made from it, gets a
 * tombstone and is never made again; what they hold is erased. Killed half-way, the next call does the rest: results are
 * forgotten before what they were made from.
 */
export async function forgetPerson(store: Store, options: ForgetOptions): Promise<ForgetReport> {
  const search = new Search(store, options);
  await search.extend();
  const report = await search.report();
  if (!options.dryRun) {
    const done = new Set<string>();
    for (let keys = search.keysBut(done); keys.length > 0; keys = search.keysBut(done)) {
      for (const key of keys) await store.forgetManifest(key, { onRequest: true });
      for (const key of keys) done.add(key);
      await search.extend();
    }
  }
  return { ...report, ...(await eraseForgotten(store, options.dryRun)) };
}

class Search {
  readonly #store: Store;
  readonly #options: ForgetOptions;
  readonly #tables: PersonTable[] = [];
  /** By key. */
  readonly #steps = new Map<string, Manifest>();
  readonly #unfinished: string[] = [];
  /** Digests of outputs that hold data of the person or were made from it. */
  readonly #digests = new Set<string>();
  readonly #looked = new Set<string>();

  constructor(store: Store, options: ForgetOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** Finds what is not found yet, also what a running step has finished since. */
  async extend(): Promise<void> {
    const manifests = await this.#manifests();
    for (const manifest of manifests) await this.#lookInto(manifest);
    for (let before = -1; before < this.#steps.size; ) {
      before = this.#steps.size;
      for (const manifest of manifests) if (await this.#isMadeFromThem(manifest)) this.#add(manifest);
    }
    for (const key of await this.#work()) if (!this.#unfinished.includes(key)) this.#unfinished.push(key);
  }

  /** What was found and is not in `done`, results before what they were made from. */
  keysBut(done: ReadonlySet<string>): string[] {
    const steps = [...this.#steps.values()].filter(({ key }) => !done.has(key));
    return [...this.#unfinished.filter((key) => !done.has(key)), ...resultsFirst(steps)];
  }

  async report(): Promise<Omit<ForgetReport, keyof EraseReport>> {
    const named = async (area: 'refs' | 'runs') => {
      const owners = new Set<string>();
      for await (const { owner, value } of storedRecords(this.#store, [area]))
        if (digestsIn(value).some((digest) => this.#steps.has(digest))) owners.add(owner);
      return [...owners];
    };
    const steps = [...this.#steps.values()].map(({ step, key, outputs }) => {
      const bytes = Object.values(outputs).reduce((sum, ref) => sum + ref.bytes, 0);
      return { step, key, bytes };
    });
    const [pointers, runs] = [await named('refs'), await named('runs')];
    return { tables: this.#tables, steps, unfinished: this.#unfinished, pointers, runs };
  }

  async #manifests(): Promise<Manifest[]> {
    const keys = await this.#store.listManifests();
    const manifests = await Promise.all(keys.map((key) => this.#store.readManifest(key)));
    return manifests.filter((manifest) => manifest !== undefined);
  }

  /** Adds a step of whose outputs one has rows of the person; only those outputs count as theirs. */
  async #lookInto(manifest: Manifest): Promise<void> {
    const { step, key, outputs } = manifest;
    if (this.#looked.has(key)) return;
    this.#looked.add(key);
    for (const [role, ref] of Object.entries(outputs)) {
      const rows = await this.#options.countRows(ref);
      if (rows === 0) continue;
      this.#tables.push({ step, key, role, schema: ref.schema ?? '', rows });
      this.#steps.set(key, manifest);
      this.#digests.add(ref.sha256);
    }
  }

  async #isMadeFromThem(manifest: Manifest): Promise<boolean> {
    if (Object.values(manifest.inputs).some((digest) => this.#digests.has(digest))) return true;
    for (const key of await this.#options.restsOn(manifest))
      if (this.#steps.has(key) || (await this.#store.isForgotten(key))) return true;
    return false;
  }

  #add(manifest: Manifest): void {
    this.#steps.set(manifest.key, manifest);
    for (const { sha256 } of Object.values(manifest.outputs)) this.#digests.add(sha256);
  }

  /** Keys of unfinished steps with tiles or checkpoints that were begun with their data, or with nobody knows what. */
  async #work(): Promise<string[]> {
    if (this.#steps.size === 0) return [];
    const { folder } = this.#store;
    const owners = new Set([...(await folder.list('tiles')), ...(await folder.list('checkpoints'))]);
    const keys: string[] = [];
    for (const key of owners) {
      if ((await this.#store.readManifest(key)) || (await this.#store.isForgotten(key))) continue;
      const begun = (await this.#store.readTelemetry(key)).flatMap(inputsOf);
      if (begun.length === 0 || begun.some((digest) => this.#digests.has(digest))) keys.push(key);
    }
    return keys;
  }
}

/** So ordered that no step comes before one that took its outputs. */
function resultsFirst(steps: readonly Manifest[]): string[] {
  const ordered: string[] = [];
  let left = [...steps];
  while (left.length > 0) {
    const taken = new Set(left.flatMap(({ inputs }) => Object.values(inputs)));
    const ends = left.filter(({ outputs }) => !Object.values(outputs).some(({ sha256 }) => taken.has(sha256)));
    const next = new Set(ends.length > 0 ? ends : left);
    ordered.push(...[...next].map(({ key }) => key));
    left = left.filter((step) => !next.has(step));
  }
  return ordered;
}

/** Digests of what a step was begun with, as its telemetry notes them. */
function inputsOf(entry: unknown): string[] {
  return digestsIn((entry as { inputs?: unknown }).inputs);
}
