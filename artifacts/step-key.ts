import { type ArtifactRef, DigestSchema } from './artifact-ref.ts';
import { digestOf } from './canonical-json.ts';

export interface StepIdentity {
  /** Name of the activity. */
  step: string;
  /** Raised whenever the same inputs and parameters would give another result. */
  contractVersion: number;
  /** Each input by role; only its digest counts. */
  inputs: Record<string, ArtifactRef | string>;
  /** Every parameter that changes the result, and no other. */
  params: unknown;
}

/** The digests of a step's inputs, as they stand in its key and its manifest. */
export function inputDigests(inputs: Record<string, ArtifactRef | string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(inputs).map(([role, input]) => [
      role,
      DigestSchema.parse(typeof input === 'string' ? input : input.sha256),
    ]),
  );
}

/**
 * The name under which a step's result is kept: 64 hex digits over activity, contract version, input digests and
 * parameters. Two steps with one key have one result.
 */
export function stepKey({ step, contractVersion, inputs, params }: StepIdentity): string {
  return digestOf({ step, contractVersion, inputs: inputDigests(inputs), params });
}
