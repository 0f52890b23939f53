import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { digestOf } from '../artifacts/canonical-json.ts';
import { inputDigests, stepKey } from '../artifacts/step-key.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { CONTRACT_VERSIONS, type JobName, type StepInput, type StepResult, type StepTelemetry } from './contracts.ts';

const NOTHING_DONE: StepTelemetry = { seconds: 0, resumes: 0 };

/** The key of a step: activity, contract version, input digests and the parameters that change the result. */
export function keyOfStep(
  step: JobName,
  inputs: Record<string, ArtifactRef>,
  params: unknown,
  contractVersion: number = CONTRACT_VERSIONS[step],
): string {
  return stepKey({ step, contractVersion, inputs, params: keyParams(params) });
}

/** The finished step under this key, if there is one. */
export async function findStep(store: Store, key: string): Promise<StepResult<unknown> | undefined> {
  const manifest = await store.readManifest(key);
  return manifest && fromManifest(manifest, { reused: true, telemetry: NOTHING_DONE });
}

export interface FinishedStep {
  outputs: Record<string, ArtifactRef>;
  /** Small numbers and words. */
  result: unknown;
  fingerprint: Record<string, string>;
  telemetry: StepTelemetry;
}

/** Writes a step's manifest, its outputs being in the store. When somebody else was first, the result is theirs. */
export async function finishStep(
  store: Store,
  { step, key, inputs, params }: Pick<StepInput<unknown>, 'step' | 'key' | 'inputs' | 'params'>,
  { outputs, result, fingerprint, telemetry }: FinishedStep,
  contractVersion: number = CONTRACT_VERSIONS[step],
): Promise<StepResult<unknown>> {
  const manifest = await store.writeManifest(key, {
    version: 1,
    step,
    contractVersion,
    key,
    inputs: inputDigests(inputs),
    params: keyParams(params),
    outputs,
    result,
    fingerprint,
  });
  return fromManifest(manifest, { reused: false, telemetry });
}

/** What goes back to the workflow: the histories of long epochs stay in the manifest. */
export function forWorkflow(step: StepResult<unknown>): StepResult<unknown> {
  if (typeof step.result !== 'object' || step.result === null || !('stepLosses' in step.result)) return step;
  const { stepLosses: _, ...result } = step.result;
  return { ...step, result };
}

function fromManifest(
  { key, outputs, result, fingerprint }: Manifest,
  circumstances: { reused: boolean; telemetry: StepTelemetry },
): StepResult<unknown> {
  return { key, outputs, result, fingerprint: digestOf(fingerprint), ...circumstances };
}

/** A model or data folder that was moved is still the same: in a key its digest counts and its place does not. So it is with a snapshot. */
export function keyParams(params: unknown): unknown {
  const { model, data, digest, snapshot: _, ...rest } = params as Record<string, Record<string, unknown> | undefined>;
  return {
    ...rest,
    ...(model ? { model: model['digest'] } : {}),
    ...(data ? { data: { ...data, source: digest } } : {}),
  };
}
