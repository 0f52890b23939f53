import { SoftflowError } from '../errors.ts';
import { type ArtifactRef, ArtifactRefSchema } from './artifact-ref.ts';
import { decodeRecord, type RecordPlace, RecordSeries } from './record-series.ts';
import type { Store } from './store.ts';
import type { StoreFolder } from './store-folder.ts';

/** Folders of records by area: how many folders deep the records lie, and what a series belongs to. */
const AREAS = {
  checkpoints: 1,
  conflicts: 1,
  deaths: 1,
  manifests: 1,
  refs: 1,
  runs: 2,
  telemetry: 1,
  tiles: 1,
} as const;

export type Area = keyof typeof AREAS;

/** One record as it lies in the store. */
export interface StoredRecord extends RecordPlace {
  area: Area;
  /** Step key, pointer name or run id. */
  owner: string;
  series: RecordSeries;
  path: string;
  state: 'whole' | 'damaged' | 'unreadable';
  /** Of a whole record. */
  value: unknown;
  /** Of an unreadable one. */
  error?: SoftflowError;
}

/** Every record of the store or of some areas, each series highest number first. */
export async function* storedRecords(
  store: Store,
  areas: readonly Area[] = Object.keys(AREAS) as Area[],
): AsyncIterable<StoredRecord> {
  for (const area of areas) {
    for (const { owner, directory } of await seriesOf(store.folder, area)) {
      const series = new RecordSeries(store.folder, directory);
      const places = await series.places();
      places.sort((a, b) => b.n - a.n);
      for (const place of places) yield await readStored(store.folder, area, owner, series, place);
    }
  }
}

async function seriesOf(folder: StoreFolder, area: Area): Promise<{ owner: string; directory: string }[]> {
  const owners = await folder.list(area);
  if (area === 'checkpoints') return owners.map((owner) => ({ owner, directory: `${area}/${owner}/records` }));
  if (AREAS[area] === 1) return owners.map((owner) => ({ owner, directory: `${area}/${owner}` }));
  const nested = owners.map(async (owner) =>
    (await folder.list(`${area}/${owner}`)).map((kind) => ({ owner, directory: `${area}/${owner}/${kind}` })),
  );
  return (await Promise.all(nested)).flat();
}

async function readStored(
  folder: StoreFolder,
  area: Area,
  owner: string,
  series: RecordSeries,
  place: RecordPlace,
): Promise<StoredRecord> {
  const path = series.pathOf(place);
  const record = { ...place, area, owner, series, path, value: undefined };
  try {
    const bytes = await folder.read(path);
    const decoded = bytes && decodeRecord(path, bytes);
    return decoded ? { ...record, state: 'whole', value: decoded.value } : { ...record, state: 'damaged' };
  } catch (error) {
    if (error instanceof SoftflowError) return { ...record, state: 'unreadable', error };
    throw error;
  }
}

/** All artifact references within a JSON value. */
export function refsIn(value: unknown): ArtifactRef[] {
  if (typeof value !== 'object' || value === null) return [];
  const { data } = ArtifactRefSchema.safeParse(value);
  return data ? [data] : Object.values(value).flatMap(refsIn);
}

/** All digests within a JSON value, whatever they are digests of. */
export function digestsIn(value: unknown): string[] {
  if (typeof value === 'string') return value.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g) ?? [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(digestsIn);
}
