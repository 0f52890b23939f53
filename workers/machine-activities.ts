import { type Activities, createActivities } from '../activities/create-activities.ts';
import type { Replacements } from '../activities/replace.ts';
import { openStore, type Store } from '../artifacts/store.ts';
import type { BackendChoice } from './backend-choices.ts';
import { machinePlaces } from './places.ts';
import { TrainerClient } from './trainer-client.ts';

/** What a process that serves steps works with. */
export interface MachineOptions {
  /** Folder of the artifact store; made when it is not there. */
  storeRoot: string;
  /** What tensor steps compute with. @default 'auto' */
  backend?: BackendChoice;
  /** Activities of your own in the place of softflow's. */
  replace?: Replacements;
  /** URL of a module of job bodies in place of softflow's own. */
  jobsModule?: string;
}

/**
 * Every activity over a store, a trainer process that starts with the first tensor step, and the files of this machine.
 *
 * @throws SoftflowError `REPLACEMENT_INVALID`, and those of the store
 */
export async function machineActivities({
  storeRoot,
  backend,
  replace = {},
  jobsModule,
}: MachineOptions): Promise<{ activities: Activities; trainer: TrainerClient; store: Store }> {
  const store = await openStore(storeRoot, { create: true });
  const trainer = new TrainerClient({
    storeRoot: store.root,
    ...(backend ? { backend } : {}),
    ...(jobsModule ? { jobsModule } : {}),
  });
  return { activities: createActivities({ store, trainer, places: machinePlaces }, replace), trainer, store };
}
