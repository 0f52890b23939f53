import type { Sources } from '../activities/contracts.ts';
import { resolveSources, type SourceNames } from '../activities/resolve-sources.ts';
import { type OutlookInput, type StepOutlook, stepOutlook } from '../activities/step-outlook.ts';
import type { Store } from '../artifacts/store.ts';
import { machinePlaces } from './places.ts';

/** Model and data as this machine has them. */
export const machineSources = (names: SourceNames): Promise<Sources> => resolveSources(machinePlaces, names);

/** Looks steps of a plan up by the very functions that a run's worker uses. */
export const outlookIn =
  (store: Store | undefined) =>
  (input: OutlookInput): Promise<StepOutlook> =>
    stepOutlook(store, input);
