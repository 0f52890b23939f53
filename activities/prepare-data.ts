import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cancellationSignal } from '@temporalio/activity';
import { canonicalJson } from '../artifacts/canonical-json.ts';
import type { Store } from '../artifacts/store.ts';
import { type PreparedData, type PrepareParams, prepareData as prepare } from '../datasets/prepare.ts';
import type { ResolvedDataSource } from '../datasets/sources/source.ts';
import { SoftflowError } from '../errors.ts';
import type { PrepareDataParams, PrepareDataResult, Progress, StepResult } from './contracts.ts';
import { lookUpStep } from './look-up-step.ts';
import { DUCK, type Places } from './resolve-sources.ts';
import type { StepBody } from './step-contracts.ts';
import { finishStep } from './step-result.ts';

export interface PrepareCalls {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

/** Reads, filters and cuts the data into windows; the tables go into the store. */
export function prepareData(places: Places): StepBody<'prepareData'> {
  return (store, { params }, onProgress) =>
    prepareInto(store, params, places, { signal: cancellationSignal(), onProgress });
}

/** The same step outside of a run: found, or done and kept under the key that a run looks up. */
export async function prepareAhead(
  store: Store,
  params: PrepareDataParams,
  places: Places,
  calls: PrepareCalls = {},
): Promise<StepResult<PrepareDataResult>> {
  const identity = { step: 'prepareData', inputs: {}, params } as const;
  const { key, found } = await lookUpStep(store, identity);
  if (found) return found as StepResult<PrepareDataResult>;
  const began = performance.now();
  const finished = await prepareInto(store, params, places, calls);
  const telemetry = { seconds: (performance.now() - began) / 1000, resumes: 0 };
  const fingerprint = { node: process.version };
  const done = await finishStep(store, { ...identity, key }, { ...finished, fingerprint, telemetry });
  return done as StepResult<PrepareDataResult>;
}

async function prepareInto(store: Store, params: PrepareDataParams, places: Places, calls: PrepareCalls) {
  const { source, ...options } = params.data as { source: object } & Omit<PrepareParams, 'seed'>;
  const { signal, onProgress } = calls;
  const tmpDir = await mkdtemp(join(tmpdir(), 'softflow-prepare-'));
  try {
    const prepared = await prepare(
      await sourceOf(params, store, places, source),
      { ...options, seed: params.seed },
      {
        ...{ ...DUCK, tmpDir },
        ...(signal ? { signal } : {}),
        ...(onProgress && { onProgress: ({ phase, done, total }) => onProgress(toProgress(phase, done, total)) }),
      },
    );
    requireSameSource(prepared, params.digest);
    return { outputs: await putTables(store, prepared), result: prepared.result };
  } finally {
    await rm(tmpDir, { recursive: true, force: true });
  }
}

/** A snapshot that was taken of the source stands for it. */
async function sourceOf(
  { snapshot }: PrepareDataParams,
  store: Store,
  places: Places,
  source: object,
): Promise<ResolvedDataSource> {
  if (!snapshot) return (await places.dataSource(source)) as ResolvedDataSource;
  const [interactions, items] = [await store.pathOf(snapshot.interactions), await store.pathOf(snapshot.items)];
  return { snapshot: { of: Object.keys(source)[0] as string, interactions, items } };
}

async function putTables(store: Store, prepared: PreparedData) {
  const { windows, titles } = prepared.result;
  const put = (bytes: Uint8Array, schema: string, rows?: number) =>
    store.putBytes(bytes, { schema, ...(rows === undefined ? {} : { rows }) });
  return {
    interactions: await store.putFile(prepared.interactions, { schema: 'interactions' }),
    items: await put(prepared.items, 'items'),
    titles: await put(prepared.titles, 'titles', titles),
    windowsTrain: await put(prepared.windowsTrain, 'windows', windows.train),
    windowsValid: await put(prepared.windowsValid, 'windows', windows.valid),
    windowsTest: await put(prepared.windowsTest, 'windows', windows.test),
    card: await store.putBytes(Buffer.from(canonicalJson(prepared.card))),
  };
}

function requireSameSource({ card }: PreparedData, digest: string): void {
  if (card.source.digest === digest) return;
  throw new SoftflowError(
    'DATA_CHANGED',
    `The data source has changed while the run began: expected digest ${digest}, found ${card.source.digest}. ` +
      'Start the run again once the files are complete.',
    { details: { expected: digest, found: card.source.digest } },
  );
}

function toProgress(phase: string, done: number, total: number): Progress {
  return { step: 'prepareData', position: phase, done, total, unit: 'phase' };
}
