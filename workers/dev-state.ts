import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import type { Fault } from '../activities/faults.ts';
import { QUEUE_KINDS } from '../workflows/task-queues.ts';
import { ProcessIdentitySchema } from './process-identity.ts';

const DevStateSchema = z.strictObject({
  /** Which build of softflow the processes run. */
  build: z.string(),
  /** Host and port of the embedded server, on the loopback interface. */
  address: z.string(),
  uiUrl: z.string(),
  supervisor: ProcessIdentitySchema,
  server: ProcessIdentitySchema.optional(),
  workers: z.array(
    z.strictObject({ queues: z.array(z.enum(QUEUE_KINDS)), process: ProcessIdentitySchema, restarts: z.int() }),
  ),
});

/** What runs of the embedded server and workers, as `<state folder>/dev.json` says. */
export type DevState = z.infer<typeof DevStateSchema>;

/** Paths of the state folder (`.softflow`). */
export function devPaths(stateFolder: string) {
  return {
    state: join(stateFolder, 'dev.json'),
    lock: join(stateFolder, 'dev.lock'),
    failure: join(stateFolder, 'dev-failure.json'),
    database: join(stateFolder, 'temporal.db'),
    store: join(stateFolder, 'store'),
    runs: join(stateFolder, 'runs'),
    logs: join(stateFolder, 'logs'),
  };
}

/** What the file says, whether it is still so or not; undefined when there is none that can be read. */
export async function readDevState(stateFolder: string): Promise<DevState | undefined> {
  try {
    return DevStateSchema.parse(JSON.parse(await readFile(devPaths(stateFolder).state, 'utf8')));
  } catch {
    return undefined;
  }
}

export async function writeDevState(stateFolder: string, state: DevState): Promise<void> {
  await mkdir(stateFolder, { recursive: true });
  await writeWhole(devPaths(stateFolder).state, state);
}

/** Why a supervisor could not start, for the command that started it. */
export async function writeDevFailure(stateFolder: string, fault: Fault): Promise<void> {
  await writeWhole(devPaths(stateFolder).failure, fault);
}

/** Who reads meanwhile finds the old file or the new one, never a part. */
async function writeWhole(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  await writeFile(temporary, `${JSON.stringify(value, null, 2)}\n`);
  await rename(temporary, path);
}

export async function removeDevState(stateFolder: string): Promise<void> {
  await rm(devPaths(stateFolder).state, { force: true });
}
