import { rm } from 'node:fs/promises';
import { toFault } from '../activities/faults.ts';
import { takeDevLock } from './dev-lock.ts';
import { writeDevFailure } from './dev-state.ts';
import { Supervisor, type SupervisorSettings } from './supervisor.ts';

/** The supervisor as a process of its own; its settings are the one JSON argument. */
const settings = JSON.parse(process.argv[2] ?? '{}') as SupervisorSettings;
const lock = await takeDevLock(settings.stateFolder);
// Another command was quicker; its supervisor serves both.
if (!lock) process.exit(0);
try {
  const supervisor = await Supervisor.open(settings);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => supervisor.stop());
  await supervisor.run();
} catch (error) {
  await writeDevFailure(settings.stateFolder, toFault(error));
  process.exitCode = 1;
} finally {
  await rm(lock, { force: true });
}
