import { SoftflowError } from '../errors.ts';
import { CONTRACT_VERSIONS, type StepInput } from './contracts.ts';
import { keyOfStep } from './step-result.ts';

/** So long other workers of the queue are given a chance, about a minute and a half: the length of a rolling update. */
const ATTEMPTS = 12;

/**
 * Refuses a step whose key this build would not give it: a run looks its steps up in one build and computes them in
 * another, and under one key there is one result.
 *
 * @throws SoftflowError `CONTRACT_DIFFERS`, retryable during the first attempts
 */
export function requireSameContract(
  { step, key, inputs, params }: StepInput<unknown>,
  attempt: number,
  contractVersion: number = CONTRACT_VERSIONS[step],
): void {
  if (keyOfStep(step, inputs, params, contractVersion) === key) return;
  throw new SoftflowError(
    'CONTRACT_DIFFERS',
    `Step ${step} was looked up by another build of softflow than this worker's (contract version ${contractVersion}). ` +
      "Start a worker of the run's build, or stop the run and resume it, so that it goes on with this build.",
    { details: { step, key, contractVersion }, retryable: attempt < ATTEMPTS },
  );
}
