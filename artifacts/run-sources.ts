import type { Store } from './store.ts';

/** Kind of the record. */
const SOURCES = 'sources';

/** Data as a run has found it: its digest and, where the source grows, the copy that was made of it. */
export interface FoundData {
  digest: string;
  snapshot?: object;
}

interface RunSources<Data> {
  data: Data;
  /** Key of the prepared data. */
  prepared?: string;
}

/**
 * The copy of growing data that a run was begun with, so that whoever takes the run up goes on with that data and not with
 * what the source holds by then. Once the data is prepared, the step's key stands for the copy.
 *
 * @returns undefined when there is none, or when what was made of it is gone
 */
export async function readRunSources<Data extends FoundData>(store: Store, runId: string): Promise<Data | undefined> {
  const known = await recorded<Data>(store, runId);
  if (!known) return undefined;
  const { data, prepared } = known;
  return prepared === undefined || (await store.readManifest(prepared)) ? data : undefined;
}

/** Keeps the copy out of the garbage until the data is prepared. */
export async function recordRunSources(store: Store, runId: string, data: FoundData): Promise<void> {
  await store.putRunRecord(runId, SOURCES, { data } satisfies RunSources<FoundData>);
}

/** Lets the copy go; `prepared`: the key of what was made of it. Without one, whoever takes up the run reads the source. */
export async function dropSnapshot(store: Store, runId: string, prepared?: string): Promise<void> {
  const known = await recorded<FoundData>(store, runId);
  if (!known?.data.snapshot) return;
  const { digest } = known.data;
  await store.putRunRecord(runId, SOURCES, prepared === undefined ? null : { data: { digest }, prepared });
}

async function recorded<Data extends FoundData>(store: Store, runId: string): Promise<RunSources<Data> | undefined> {
  return ((await store.readRunRecord(runId, SOURCES))?.value as RunSources<Data> | null | undefined) ?? undefined;
}
