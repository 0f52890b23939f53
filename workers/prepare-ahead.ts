import type { PrepareDataParams, PrepareDataResult, Sources, StepResult } from '../activities/contracts.ts';
import { type PrepareCalls, prepareAhead } from '../activities/prepare-data.ts';
import { resolveData, type SourceNames } from '../activities/resolve-sources.ts';
import type { Store } from '../artifacts/store.ts';
import { machinePlaces } from './places.ts';

/** Prepares data as this machine has it, into the store. @param paramsOf the step's, once the source is found */
export async function prepareOnMachine(
  store: Store,
  names: Omit<SourceNames, 'model'>,
  paramsOf: (found: Sources['data']) => PrepareDataParams,
  calls: PrepareCalls = {},
): Promise<StepResult<PrepareDataResult>> {
  const { signal } = calls;
  const found = await resolveData(machinePlaces, names, { store, ...(signal ? { signal } : {}) });
  return prepareAhead(store, paramsOf(found), machinePlaces, calls);
}
