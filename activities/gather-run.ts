import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { digestOf } from '../artifacts/canonical-json.ts';
import { splitHash } from '../artifacts/split-hash.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { decodeItems, decodePredictions, decodeTitles, decodeWindows } from '../datasets/tables.ts';
import { SoftflowError } from '../errors.ts';
import {
  type EpochInput,
  MODEL_IDS,
  type ReportConfig,
  type StepInput as ReportedStep,
  type RunSummaryInput,
} from '../report/summary-types.ts';
import type {
  LineageStep,
  Metrics,
  PrepareDataResult,
  ReleaseParams,
  SelfDistillResult,
  StepTelemetry,
  TrainEpochResult,
} from './contracts.ts';

/** What the report shows of a run besides its results. */
export interface RunIdentity {
  runId: string;
  name: string;
  /** What the person named, when the run was started from a file. */
  recipe?: string;
  /** Ids of the steps that this run found done. */
  reused: ReadonlySet<string>;
}

interface Found extends LineageStep {
  manifest: Manifest;
}

/** Reads back from the store all that a run has made, for its metrics and its report. */
export async function gatherRun(
  store: Store,
  params: ReleaseParams,
  digests: { sftAdapter: string; softAdapter: string },
  identity: RunIdentity,
): Promise<RunSummaryInput> {
  const steps = await Promise.all(params.steps.map((step) => findManifest(store, step)));
  const prepared = manifestOf(steps, 'prepare');
  const bytes = (name: string) => store.getBytes(outputOf(prepared, name));
  const { counts, windows } = prepared.result as PrepareDataResult;
  const softTest = manifestOf(steps, 'test-soft');
  return {
    runId: identity.runId,
    ...(identity.recipe === undefined ? {} : { recipe: identity.recipe }),
    config: { ...(params.config as Omit<ReportConfig, 'name'>), name: identity.name },
    data: { counts, windows, splitHash: splitHash(prepared.outputs), card: await readCard(store, prepared) },
    items: decodeItems(await bytes('items')),
    titles: decodeTitles(await bytes('titles')),
    testWindows: decodeWindows(await bytes('windowsTest')),
    predictions: await readPredictions(store, steps),
    epochs: { sft: epochsOf(steps, 'sft'), soft: epochsOf(steps, 'soft') },
    chosenEpochs: params.chosen,
    curriculum: params.curriculum,
    distillation: manifestOf(steps, 'self-distil').result as SelfDistillResult,
    steps: await Promise.all(steps.map((step) => describeStep(store, step, identity))),
    fingerprint: softTest.fingerprint,
    digests,
  };
}

async function findManifest(store: Store, step: LineageStep): Promise<Found> {
  const manifest = await store.readManifest(step.key);
  if (manifest) return { ...step, manifest };
  throw new SoftflowError(
    'STEP_MISSING',
    `The result of "${step.label}" (step ${step.key}) is no longer in the store. Run the same recipe again: only what is missing is computed.`,
    { details: { ...step } },
  );
}

function manifestOf(steps: readonly Found[], id: string): Manifest {
  const found = steps.find((step) => step.id === id);
  if (found) return found.manifest;
  throw new SoftflowError(
    'STEP_MISSING',
    `Expected a step \`${id}\` in the run, found ${steps.map((s) => s.id).join(', ')}.`,
  );
}

/** @throws SoftflowError `STEP_OUTPUT_MISSING` */
export function outputOf(manifest: Manifest, name: string): ArtifactRef {
  const ref = manifest.outputs[name];
  if (ref) return ref;
  throw new SoftflowError(
    'STEP_OUTPUT_MISSING',
    `Expected an output \`${name}\` of ${manifest.step} (${manifest.key}).`,
  );
}

async function readCard(store: Store, prepared: Manifest): Promise<Record<string, unknown>> {
  return JSON.parse(Buffer.from(await store.getBytes(outputOf(prepared, 'card'))).toString()) as Record<
    string,
    unknown
  >;
}

async function readPredictions(store: Store, steps: readonly Found[]): Promise<RunSummaryInput['predictions']> {
  const predictions: RunSummaryInput['predictions'] = {};
  for (const id of MODEL_IDS) {
    const step = steps.find((candidate) => candidate.id === `test-${id}`);
    if (step) predictions[id] = decodePredictions(await store.getBytes(outputOf(step.manifest, 'predictions')));
  }
  return predictions;
}

function epochsOf(steps: readonly Found[], stage: 'sft' | 'soft'): EpochInput[] {
  return steps.flatMap(({ id, manifest }) => {
    const epoch = new RegExp(`^${stage}-(\\d+)-train$`).exec(id)?.[1];
    if (epoch === undefined) return [];
    const validation = steps.find((step) => step.id === `${stage}-${epoch}-validate`)?.manifest.result as
      | Metrics
      | undefined;
    return [{ ...(manifest.result as TrainEpochResult), ...(validation ? { validation } : {}) }];
  });
}

async function describeStep(store: Store, step: Found, { runId, reused }: RunIdentity): Promise<ReportedStep> {
  const { id, label, manifest } = step;
  return {
    label,
    step: manifest.step,
    key: step.key,
    reused: reused.has(id),
    outputs: manifest.outputs,
    fingerprint: digestOf(manifest.fingerprint),
    telemetry: await telemetryOf(store, step.key, runId),
  };
}

/** What this run spent on the step; nothing when it was found done. */
async function telemetryOf(store: Store, key: string, runId: string): Promise<StepTelemetry> {
  const all = (await store.readTelemetry(key)) as ({ runId: string } & StepTelemetry)[];
  const last = all.findLast((entry) => entry.runId === runId);
  if (!last) return { seconds: 0, resumes: 0 };
  const { runId: _, ...telemetry } = last;
  return telemetry;
}
