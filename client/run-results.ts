import type { ReleaseParams } from '../activities/contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { stepForgotten } from '../artifacts/tombstones.ts';
import { SoftflowError } from '../errors.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { RunStatus } from '../workflows/run-state.ts';

/** What a finished run released: its config, its adapter, and the artifacts of its steps. */
export interface ReleasedRun {
  runId: string;
  config: RunConfig;
  params: ReleaseParams;
  /** The files of the release by their path in a run's folder: `metrics.json`, `adapter/...`. */
  files: Record<string, ArtifactRef>;
  /** Output `name` of the step `id`, for instance the `items` of `prepare`. @throws SoftflowError `STEP_MISSING` */
  output(id: string, name: string): Promise<ArtifactRef>;
}

/**
 * Reads back what a run released, from the store alone.
 * @throws SoftflowError `RUN_UNFINISHED` when the run has no release yet, `STEP_FORGOTTEN`, `STEP_MISSING`, and those of the store
 */
export async function readReleasedRun(store: Store, runId: string): Promise<ReleasedRun> {
  const manifest = await manifestOf(store, runId, 'release');
  const params = manifest.params as ReleaseParams;
  return {
    runId,
    config: params.config as RunConfig,
    params,
    files: manifest.outputs,
    output: (id, name) => stepOutput(store, params, id, name),
  };
}

/**
 * A file of a run's report or release: `summary.json`, `metrics.json`.
 * @throws SoftflowError `RUN_UNFINISHED`, `STEP_FORGOTTEN`, `STEP_MISSING`, and those of the store
 */
export async function readRunFile(store: Store, runId: string, path: string): Promise<Uint8Array> {
  for (const step of ['renderReport', 'release'] as const) {
    const ref = (await manifestOf(store, runId, step)).outputs[path];
    if (ref) return store.getBytes(ref);
  }
  throw new SoftflowError('STEP_OUTPUT_MISSING', `Expected a file ${path} of the run ${runId}, found none.`);
}

async function manifestOf(store: Store, runId: string, step: 'release' | 'renderReport'): Promise<Manifest> {
  const status = (await store.readRunRecord(runId, 'status'))?.value as RunStatus | undefined;
  const key = status?.steps.find((candidate) => candidate.step === step)?.key;
  const manifest = key === undefined ? undefined : await store.readManifest(key);
  if (manifest) return manifest;
  if (key !== undefined && (await store.isForgotten(key))) throw stepForgotten(key);
  if (status?.phase === 'completed') throw noLongerThere(`The results of run ${runId} are`, { runId, step });
  throw new SoftflowError(
    'RUN_UNFINISHED',
    `The run ${runId} has no results yet: it is ${status?.phase ?? 'just begun'}. Next: softflow watch ${runId}, or softflow resume ${runId} when it stands still.`,
    { details: { runId, phase: status?.phase } },
  );
}

async function stepOutput(store: Store, params: ReleaseParams, id: string, name: string): Promise<ArtifactRef> {
  const step = params.steps.find((candidate) => candidate.id === id);
  const ref = step && (await store.readManifest(step.key))?.outputs[name];
  if (ref) return ref;
  throw noLongerThere(`The \`${name}\` of step \`${id}\` is`, { id, name });
}

function noLongerThere(what: string, details: Record<string, string>): SoftflowError {
  const next = 'Run the same recipe again: only what is missing is computed.';
  return new SoftflowError('STEP_MISSING', `${what} no longer in the store. ${next}`, { details });
}
