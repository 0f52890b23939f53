import { SoftflowError } from '../errors.ts';
import { CONTRACT_VERSIONS, type StepName } from './contracts.ts';
import type { LightActivities, LongActivities } from './create-activities.ts';
import { STEP_ROLES, type StepBody } from './step-contracts.ts';

/** softflow's own versions of its steps count up from 1 and stay below. */
const FIRST_OWN_VERSION = 1000;

/** A step that is computed by code of your own, in the worker itself. */
export interface StepReplacement<Step extends StepName> {
  /**
   * From 1000 on; part of the step's key, so that results of softflow's own code and of yours are never taken for each
   * other. Raise it whenever your code computes something else from the same inputs and parameters.
   */
  contractVersion: number;
  compute: StepBody<Step>;
}

/** Activities that take the place of softflow's own, one by one: steps by what they compute, all others as they are called. */
export type Replacements = { [Step in StepName]?: StepReplacement<Step> } & Partial<
  Omit<LightActivities & LongActivities, 'lookUpStep'>
>;

/** The version of each step with these replacements. */
export function contractVersions(replace: Replacements): Record<StepName, number> {
  const steps = Object.keys(STEP_ROLES) as StepName[];
  return Object.fromEntries(
    steps.map((step) => [step, replace[step]?.contractVersion ?? CONTRACT_VERSIONS[step]]),
  ) as Record<StepName, number>;
}

/**
 * @param known names of all activities
 * @throws SoftflowError `REPLACEMENT_INVALID`
 */
export function checkReplacements(replace: Replacements, known: readonly string[]): void {
  for (const [name, replacement] of Object.entries(replace)) {
    if (name === 'lookUpStep' || !known.includes(name))
      throw invalid(name, `one of ${known.filter((each) => each !== 'lookUpStep').join(', ')}`, 'that name');
    if (name in STEP_ROLES) checkStep(name, replacement as Partial<StepReplacement<StepName>>);
    else if (typeof replacement !== 'function') throw invalid(name, 'a function', typeof replacement);
  }
}

function checkStep(name: string, replacement: Partial<StepReplacement<StepName>>): void {
  const { contractVersion, compute } = replacement;
  if (typeof compute !== 'function')
    throw invalid(name, '{ contractVersion, compute } with a function', typeof compute);
  if (!Number.isInteger(contractVersion) || (contractVersion as number) < FIRST_OWN_VERSION)
    throw invalid(name, `an integer contractVersion from ${FIRST_OWN_VERSION} on`, String(contractVersion));
}

function invalid(name: string, expected: string, found: string): SoftflowError {
  return new SoftflowError(
    'REPLACEMENT_INVALID',
    `Replacement of the activity ${name}: expected ${expected}, got ${found}. See "Replace an activity" in docs/api.md.`,
    { details: { name, expected, found } },
  );
}
