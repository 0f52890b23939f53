import { SoftflowError } from '../errors.ts';
import type { ArtifactRef } from './artifact-ref.ts';
import { trashPath } from './blobs.ts';
import { type Area, refsIn, type StoredRecord, storedRecords } from './inventory.ts';
import { ManifestSchema } from './manifest.ts';
import type { Store } from './store.ts';
import { STORE_ENTRIES } from './store-format.ts';
import { asTombstone } from './tombstones.ts';

export interface VerifyOptions {
  /** Hash every blob. Else only names, sizes and records are checked. @default false */
  readData?: boolean;
  /** With `readData`: hash only part `n` of `of` parts (1 ... of), so that several calls cover everything. */
  subset?: { n: number; of: number };
}

/** Something in the store that is not as it should be. */
export interface Finding {
  /** `foreign`: a name that is none of the store's; harmless, but nobody expects it there. */
  kind: 'damaged' | 'missing' | 'unreadable' | 'foreign';
  /** Relative to the store's root. */
  path: string;
  expected: string;
  found: string;
  /** The step that made it, or the records that name it. */
  producer: string;
  /** A newer record has taken a damaged one's place: nothing is lost. */
  repaired: boolean;
}

export interface VerifyReport {
  records: number;
  blobs: number;
  /** Bytes hashed. */
  bytesRead: number;
  findings: Finding[];
}

/** Areas in which only the highest whole record of a slot counts. */
const HIGHEST_COUNTS = new Set<Area>(['manifests', 'refs', 'tiles', 'checkpoints']);

/** Checks the whole store and changes nothing. */
export async function verifyStore(store: Store, options: VerifyOptions = {}): Promise<VerifyReport> {
  const report: VerifyReport = { records: 0, blobs: 0, bytesRead: 0, findings: [] };
  const references = await verifyRecords(store, report);
  const seen = await verifyBlobs(store, references, options, report);
  await reportMissing(store, references, seen, report);
  for (const name of await store.folder.list('.')) {
    if (!STORE_ENTRIES.includes(name)) report.findings.push(foreign(name));
  }
  return report;
}

interface Reference {
  ref: ArtifactRef;
  producer: string;
  /** The record that refers to it. */
  record: string;
}

/** Checks all records; returns the blobs that those which count refer to, by their path. */
async function verifyRecords(store: Store, report: VerifyReport): Promise<Map<string, Reference>> {
  const references = new Map<string, Reference>();
  const forgotten = new Set<string>();
  const onRequest = new Set<string>();
  const settled = new Set<string>();
  const damaged: { record: StoredRecord; slot: string }[] = [];
  for await (const record of storedRecords(store)) {
    report.records++;
    const slot = `${record.series.directory} ${record.slot}`;
    if (record.state === 'unreadable') report.findings.push(unreadable(record.path, record.error));
    if (record.state === 'damaged') damaged.push({ record, slot });
    if (asTombstone(record.value)?.onRequest) onRequest.add(record.owner);
    if (record.area === 'manifests' && onRequest.has(record.owner))
      for (const { uri } of refsIn(record.value)) forgotten.add(uri);
    if (record.state !== 'whole' || (HIGHEST_COUNTS.has(record.area) && settled.has(slot))) continue;
    settled.add(slot);
    for (const ref of refsThatMatter(record)) {
      const known = references.get(ref.uri);
      if (!known || record.area === 'manifests')
        references.set(ref.uri, { ref, producer: producerOf(record), record: record.path });
    }
  }
  for (const { record, slot } of damaged) report.findings.push(damagedRecord(record, settled.has(slot)));
  dropForgotten(references, forgotten, onRequest);
  return references;
}

/** What a step held that was forgotten on request is gone on purpose, though a pointer or a tile may still name it. */
function dropForgotten(references: Map<string, Reference>, paths: Set<string>, keys: Set<string>): void {
  for (const [path, { record }] of references) {
    const [area, owner = ''] = record.split('/');
    if (keys.has(owner) || (paths.has(path) && area !== 'manifests')) references.delete(path);
  }
}

function refsThatMatter({ area, value }: StoredRecord): ArtifactRef[] {
  if (area === 'manifests')
    return asTombstone(value) ? [] : Object.values(ManifestSchema.safeParse(value).data?.outputs ?? {});
  return HIGHEST_COUNTS.has(area) ? refsIn(value) : [];
}

function producerOf({ area, owner, value }: StoredRecord): string {
  const step = area === 'manifests' ? ManifestSchema.safeParse(value).data?.step : undefined;
  return step ? `${step} (${owner})` : `${area}/${owner}`;
}

/** Checks all files in the folders of blobs; returns the paths of those found. */
async function verifyBlobs(
  store: Store,
  references: Map<string, Reference>,
  { readData = false, subset }: VerifyOptions,
  report: VerifyReport,
): Promise<Set<string>> {
  const seen = new Set<string>();
  for (const directory of await blobFolders(store)) {
    for (const name of await store.folder.list(directory)) {
      const path = `${directory}/${name}`;
      if (!/^[0-9a-f]{64}$/.test(name)) {
        report.findings.push(foreign(path));
        continue;
      }
      seen.add(path);
      report.blobs++;
      const hashed = readData && isInSubset(name, subset);
      const fault = await verifyBlob(store, path, references.get(path), hashed, report);
      if (fault) report.findings.push(fault);
    }
  }
  return seen;
}

async function blobFolders(store: Store): Promise<string[]> {
  const keys = await store.folder.list('checkpoints');
  return ['blobs', ...keys.map((key) => `checkpoints/${key}/blobs`)];
}

function isInSubset(sha256: string, subset: VerifyOptions['subset']): boolean {
  return subset === undefined || Number.parseInt(sha256.slice(0, 8), 16) % subset.of === subset.n - 1;
}

async function verifyBlob(
  store: Store,
  path: string,
  reference: Reference | undefined,
  hashed: boolean,
  report: VerifyReport,
): Promise<Finding | undefined> {
  const sha256 = path.slice(-64);
  const producer = reference?.producer ?? 'an unknown step';
  const finding = (expected: string, found: string): Finding => ({
    ...{ kind: 'damaged', path, expected, found, producer, repaired: false },
  });
  try {
    const stat = await store.folder.stat(path);
    if (stat?.kind !== 'file') return finding('a file', `a ${stat?.kind ?? 'name that is gone'}`);
    const bytes = reference?.ref.bytes;
    if (bytes !== undefined && stat.size !== bytes) return finding(`${bytes} bytes`, `${stat.size} bytes`);
    if (!hashed) return undefined;
    const content = await store.folder.hash(path);
    report.bytesRead += content?.bytes ?? 0;
    return content?.sha256 === sha256 ? undefined : finding(`SHA-256 ${sha256}`, `SHA-256 ${content?.sha256}`);
  } catch (error) {
    if (error instanceof SoftflowError) return { ...unreadable(path, error), producer };
    throw error;
  }
}

async function reportMissing(
  store: Store,
  references: Map<string, Reference>,
  seen: Set<string>,
  report: VerifyReport,
): Promise<void> {
  for (const [path, { ref, producer, record }] of references) {
    // What a running step has put or dropped since we looked is no fault, nor is what its next reader gets back.
    if (seen.has(path) || (await store.folder.stat(path)) || !(await store.folder.stat(record))) continue;
    if (path.startsWith('blobs/') && (await store.folder.stat(trashPath(ref.sha256)))) continue;
    const expected = `${ref.bytes} bytes with SHA-256 ${ref.sha256}`;
    report.findings.push({ kind: 'missing', path, expected, found: 'nothing', producer, repaired: false });
  }
}

function damagedRecord(record: StoredRecord, hasWhole: boolean): Finding {
  const repaired = hasWhole && HIGHEST_COUNTS.has(record.area);
  const expected = 'a record that matches its digest';
  return { kind: 'damaged', path: record.path, expected, found: 'other bytes', producer: producerOf(record), repaired };
}

function unreadable(path: string, error: SoftflowError | undefined): Finding {
  const found = error?.message ?? 'an error';
  return { kind: 'unreadable', path, expected: 'readable bytes', found, producer: 'an unknown step', repaired: false };
}

function foreign(path: string): Finding {
  const [expected, found, producer] = ['a name of the store', 'another name', 'nobody known'];
  return { kind: 'foreign', path, expected, found, producer, repaired: false };
}
