import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { extname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Fault } from '../activities/faults.ts';
import type { TemporalTarget } from '../client/connect.ts';
import { SoftflowError } from '../errors.ts';
import { ensureTemporalServer } from '../setup/temporal.ts';
import type { BackendChoice } from './backend-choices.ts';
import { type DevState, devPaths, readDevState, removeDevState } from './dev-state.ts';
import { identify, isRunning, type ProcessIdentity, signalProcess } from './process-identity.ts';
import { answers, type SupervisorSettings, shutDown, targetOf } from './supervisor.ts';

export interface EmbeddedOptions {
  /** Folder of database, store, logs and state; `.softflow` by default. */
  stateFolder?: string;
  /** Ports that must be these; by default Temporal's usual ones, or free ones when they are taken. */
  port?: number;
  uiPort?: number;
  backend?: BackendChoice;
  /** URL of a module of job bodies in place of softflow's own, for tests. */
  jobsModule?: string;
}

export interface Embedded {
  target: TemporalTarget;
  /** Address of the Temporal web UI. */
  uiUrl: string;
  /** True when everything was running already. */
  attached: boolean;
  state: DevState;
}

const DEFAULT_STATE_FOLDER = '.softflow';
const START_MS = 90_000;
const STOP_MS = 150_000;

/**
 * Attaches to the embedded server and workers, or starts them: processes of their own that go on when this one ends.
 *
 * @throws SoftflowError `PORT_IN_USE`, `TEMPORAL_NOT_STARTED`, `DEV_NOT_STARTED`, and those of the set-up
 */
export async function ensureEmbedded(options: EmbeddedOptions = {}): Promise<Embedded> {
  const stateFolder = resolve(options.stateFolder ?? DEFAULT_STATE_FOLDER);
  const running = await findEmbedded(stateFolder);
  if (running && running.state.build === currentBuild()) return { ...running, attached: true };
  // Of another build: its workers would compute with another softflow than the one that asks.
  if (running) await stopEmbedded(stateFolder);
  const { stateFolder: _, ...rest } = options;
  const temporal = await ensureTemporalServer();
  const supervisor = await startSupervisor({ ...rest, stateFolder, temporal, build: currentBuild() });
  return { ...(await waitUntilReady(stateFolder, supervisor)), attached: false };
}

/** What is running and answers; undefined when nothing does, or only parts of it. */
export async function findEmbedded(
  stateFolder: string = DEFAULT_STATE_FOLDER,
): Promise<Omit<Embedded, 'attached'> | undefined> {
  const state = await readDevState(resolve(stateFolder));
  const complete = state && isRunning(state.supervisor) && isRunning(state.server) && state.workers.length > 0;
  if (!complete || !(await answers(targetOf(state), '5 seconds'))) return undefined;
  return { target: targetOf(state), uiUrl: state.uiUrl, state };
}

/** Whether the server of this folder, and no other, runs at that address. */
export async function isServing(
  { address }: Pick<TemporalTarget, 'address'>,
  stateFolder: string = DEFAULT_STATE_FOLDER,
): Promise<boolean> {
  const state = await readDevState(resolve(stateFolder));
  return state?.address === address && isRunning(state.server);
}

/**
 * Ends the embedded workers, which write what they have done, and then the server. Runs stay where they are and go on
 * after the next start.
 *
 * @returns whether anything was running
 */
export async function stopEmbedded(stateFolder: string = DEFAULT_STATE_FOLDER): Promise<boolean> {
  const folder = resolve(stateFolder);
  const state = await readDevState(folder);
  if (!state) return false;
  const processes = [state.supervisor, state.server, ...state.workers.map((worker) => worker.process)];
  const wasRunning = processes.some((process_) => isRunning(process_));
  signalProcess(state.supervisor, 'SIGTERM');
  const deadline = Date.now() + STOP_MS;
  while (isRunning(state.supervisor) && Date.now() < deadline) await sleep(50);
  signalProcess(state.supervisor, 'SIGKILL');
  // What a supervisor that died before has left.
  await shutDown((await readDevState(folder)) ?? state);
  await removeDevState(folder);
  return wasRunning;
}

async function startSupervisor(settings: SupervisorSettings): Promise<ProcessIdentity | undefined> {
  const { logs, failure } = devPaths(settings.stateFolder);
  mkdirSync(logs, { recursive: true });
  await rm(failure, { force: true });
  const script = fileURLToPath(new URL(`./supervisor-process${extname(import.meta.url)}`, import.meta.url));
  const log = openSync(join(logs, 'supervisor.log'), 'a');
  const child = spawn(process.execPath, [script, JSON.stringify(settings)], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.on('error', () => {});
  child.unref();
  closeSync(log);
  return child.pid === undefined ? undefined : identify(child.pid);
}

async function waitUntilReady(
  stateFolder: string,
  supervisor: ProcessIdentity | undefined,
): Promise<Omit<Embedded, 'attached'>> {
  const deadline = Date.now() + START_MS;
  let gone = 0;
  while (Date.now() < deadline) {
    const found = await findEmbedded(stateFolder);
    if (found) return found;
    const fault = await readFault(stateFolder);
    if (fault) throw new SoftflowError(fault.code, fault.message, { details: fault.details });
    // It may have given way to another supervisor, which then needs a moment.
    if (!isRunning(supervisor) && ++gone > 100 && !isRunning((await readDevState(stateFolder))?.supervisor)) break;
    await sleep(100);
  }
  const log = join(devPaths(stateFolder).logs, 'supervisor.log');
  throw new SoftflowError('DEV_NOT_STARTED', `The embedded server and workers did not start; ${log} says why.`, {
    details: { log },
  });
}

async function readFault(stateFolder: string): Promise<Fault | undefined> {
  const text = await readFile(devPaths(stateFolder).failure, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Fault);
}

/** Changes with every build of `dist/`. */
function currentBuild(): string {
  const stamp = fileURLToPath(new URL('../.build-stamp', import.meta.url));
  return existsSync(stamp) ? readFileSync(stamp, 'utf8').trim() : 'sources';
}
