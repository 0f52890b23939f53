import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cancellationSignal } from '@temporalio/activity';
import { readRunSources, recordRunSources } from '../artifacts/run-sources.ts';
import type { Store } from '../artifacts/store.ts';
import { type CutOff, needsSnapshot, snapshotSource } from '../datasets/snapshot.ts';
import { type DataSource, digestOfSource, type ResolvedDataSource } from '../datasets/sources/source.ts';
import { openWeights } from '../model/weights.ts';
import type { ModelFiles, ModelSource, Sources } from './contracts.ts';
import { heartbeating } from './cpu-step.ts';
import { toFailure } from './failures.ts';

/** Where things that a config names lie on this machine; fetched when they are not there yet. */
export interface Places {
  modelFiles(source: ModelSource): Promise<ModelFiles>;
  dataSource(source: unknown): Promise<DataSource>;
}

export interface SourceNames {
  /** The run that asks; data that was copied for it before is not copied again. */
  runId?: string;
  model: ModelSource;
  data: unknown;
  cutOff: CutOff;
}

/** Bounds of the machine's use; they cannot change a byte. */
export const DUCK = { memoryLimit: '1GB', threads: 2 };

/** The activity that finds model and data and says what was found, as digests: the root of every step key. */
export function sourceResolver(places: Places, store: Store): (names: SourceNames) => Promise<Sources> {
  return async (names) => {
    try {
      const signal = cancellationSignal();
      return await heartbeating(() => resolveSources(places, names, { store, signal }));
    } catch (error) {
      throw toFailure(error);
    }
  };
}

/**
 * Model and data as they are found on this machine now. Data that grows or has a cut-off is copied up to there, once:
 * everything else reads the copy.
 *
 * @param options.store keeps the copy of growing data; without it only the digest is found
 */
export async function resolveSources(
  places: Places,
  { model, ...names }: SourceNames,
  options: ResolveOptions = {},
): Promise<Sources> {
  const { digest } = await openWeights(await places.modelFiles(model));
  return { model: { source: model, digest }, data: await resolveData(places, names, options) };
}

interface ResolveOptions {
  store?: Store;
  signal?: AbortSignal;
}

/** As `resolveSources`, of the data alone. */
export async function resolveData(
  places: Places,
  { data, cutOff, runId }: Omit<SourceNames, 'model'>,
  options: ResolveOptions = {},
): Promise<Sources['data']> {
  const { store } = options;
  const known = store && runId !== undefined ? await readRunSources<Sources['data']>(store, runId) : undefined;
  if (known) return known;
  const source = await places.dataSource(data);
  if (!needsSnapshot(source, cutOff)) return { digest: await digestOfSource(source as ResolvedDataSource) };
  const copied = await resolveSnapshot(source, cutOff, options);
  if (store && runId !== undefined) await recordRunSources(store, runId, copied);
  return copied;
}

async function resolveSnapshot(
  source: DataSource,
  cutOff: CutOff,
  { store, signal }: ResolveOptions,
): Promise<Sources['data']> {
  const tmpDir = await mkdtemp(join(tmpdir(), 'softflow-snapshot-'));
  try {
    const { snapshot, digest, leftOut } = await snapshotSource(source, cutOff, {
      ...DUCK,
      tmpDir,
      ...(signal ? { signal } : {}),
    });
    if (!store) return { digest };
    const interactions = await store.putFile(snapshot.interactions);
    return { digest, snapshot: { interactions, items: await store.putFile(snapshot.items), leftOut } };
  } finally {
    await rm(tmpDir, { recursive: true, force: true });
  }
}
