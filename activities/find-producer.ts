import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { readRunStatus } from '../artifacts/run-status.ts';
import type { Store } from '../artifacts/store.ts';
import type { StepName } from './contracts.ts';

/** What is gone: an artifact by its place in the store, or a step's result by its key. */
export type Lost = { artifact: string } | { key: string };

/** A step as its run's plan has it. */
export interface PlannedAs {
  id: string;
  stage: string;
  label: string;
}

/** The step that made something, with what it takes to make it again. */
export interface Producer {
  step: StepName;
  key: string;
  /** Its inputs, whether they are there or not. */
  inputs: Record<string, ArtifactRef>;
  /** As they stand in its key: of model and data the digest alone. */
  params: unknown;
  /** What it was in this run, when it was one of its steps. */
  planned?: PlannedAs;
}

/**
 * Finds the step that made what is gone; null when no manifest knows it, or one of its inputs.
 *
 * @param run whose step has found it gone
 */
export async function findProducer(store: Store, { run, ...lost }: Lost & { run?: string }): Promise<Producer | null> {
  const manifest =
    'key' in lost ? await store.readLatestManifest(lost.key) : await store.findManifest(lost.artifact.slice(-64));
  if (!manifest) return null;
  const inputs: Record<string, ArtifactRef> = {};
  for (const [role, digest] of Object.entries(manifest.inputs)) {
    const outputs = Object.values((await store.findManifest(digest))?.outputs ?? {});
    const ref = outputs.find(({ sha256 }) => sha256 === digest);
    if (!ref) return null;
    inputs[role] = ref;
  }
  const { step, key, params } = manifest;
  const planned = run === undefined ? undefined : await plannedAs(store, run, key);
  return { step: step as StepName, key, inputs, params, ...(planned ? { planned } : {}) };
}

async function plannedAs(store: Store, run: string, key: string): Promise<PlannedAs | undefined> {
  const { steps = [] } = ((await readRunStatus(store, run)) ?? {}) as { steps?: (PlannedAs & { key?: string })[] };
  const found = steps.find((step) => step.key === key);
  return found && { id: found.id, stage: found.stage, label: found.label };
}
