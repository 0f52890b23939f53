import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import type { Store } from '../artifacts/store.ts';
import type { StepName } from './contracts.ts';

/** What is gone: an artifact by its place in the store, or a step's result by its key. */
export type Lost = { artifact: string } | { key: string };

/** The step that made something, with what it takes to make it again. */
export interface Producer {
  step: StepName;
  key: string;
  /** Its inputs, whether they are there or not. */
  inputs: Record<string, ArtifactRef>;
  /** As they stand in its key: of model and data the digest alone. */
  params: unknown;
}

/** Finds the step that made what is gone; null when no manifest knows it, or one of its inputs. */
export async function findProducer(store: Store, lost: Lost): Promise<Producer | null> {
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
  return { step: step as StepName, key, inputs, params };
}
