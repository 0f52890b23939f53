import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect, type TemporalTarget } from '../client/connect.ts';
import { SoftflowError } from '../errors.ts';
import { ATTRIBUTES } from '../workflows/attribute-names.ts';
import type { QueueKind } from '../workflows/task-queues.ts';
import type { BackendChoice } from './backend-choices.ts';
import { type DevState, devPaths, readDevState, removeDevState, writeDevState } from './dev-state.ts';
import { choosePort } from './ports.ts';
import { identify, isRunning, type ProcessIdentity, signalProcess } from './process-identity.ts';
import type { SoftflowWorkerOptions } from './worker.ts';

export interface SupervisorSettings {
  stateFolder: string;
  /** The `temporal` command. */
  temporal: string;
  build: string;
  port?: number;
  uiPort?: number;
  backend?: BackendChoice;
  jobsModule?: string;
}

const PREFERRED_PORT = 7233;
const PREFERRED_UI_PORT = 8233;
const LOOK_EVERY_MS = 500;
const SERVER_START_MS = 60_000;
/** Workers finish a micro-batch or tile and write it before they end. */
const DRAIN_MS = 120_000;
const SERVER_STOP_MS = 10_000;
/** A worker that dies at once is started again after ever longer waits. */
const MAX_RESTART_WAIT_MS = 30_000;

/** The processes of the embedded set-up: workflow and cpu queue in one, tensor queue in another. */
const WORKERS: readonly (readonly QueueKind[])[] = [['workflow', 'cpu'], ['gpu']];

/** Starts the embedded server and workers, and starts again what dies, until it is told to stop. */
export class Supervisor {
  readonly #settings: SupervisorSettings;
  readonly #restarts = new Map<string, { count: number; notBefore: number }>();
  #state: DevState;
  #written: DevState | undefined;
  #stopping = false;

  private constructor(settings: SupervisorSettings, state: DevState) {
    this.#settings = settings;
    this.#state = state;
  }

  /** Takes over what a supervisor before this one has left running. @throws SoftflowError `PORT_IN_USE` */
  static async open(settings: SupervisorSettings): Promise<Supervisor> {
    const left = await readDevState(settings.stateFolder);
    const supervisor = identify(process.pid) as ProcessIdentity;
    if (left && isRunning(left.server)) return new Supervisor(settings, { ...left, build: settings.build, supervisor });
    const port = await choosePort('the Temporal server', settings.port, portOf(left?.address) ?? PREFERRED_PORT);
    const uiPort = await choosePort('the Temporal web UI', settings.uiPort, portOf(left?.uiUrl) ?? PREFERRED_UI_PORT);
    return new Supervisor(settings, {
      build: settings.build,
      address: `127.0.0.1:${port}`,
      uiUrl: `http://127.0.0.1:${uiPort}`,
      supervisor,
      workers: left?.workers ?? [],
    });
  }

  /** Keeps everything running; resolves after `stop`. @throws SoftflowError `TEMPORAL_NOT_STARTED` at the beginning */
  async run(): Promise<void> {
    await this.#keepServer();
    while (!this.#stopping) {
      await this.#keepServer();
      this.#keepWorkers();
      await this.#write();
      await sleep(LOOK_EVERY_MS);
    }
    await shutDown(this.#state);
    await removeDevState(this.#settings.stateFolder);
  }

  stop(): void {
    this.#stopping = true;
  }

  async #keepServer(): Promise<void> {
    if (isRunning(this.#state.server)) return;
    const { stateFolder, temporal } = this.#settings;
    const child = this.#spawn('server', temporal, serverArguments(this.#state, devPaths(stateFolder).database));
    const server = identityOf(child);
    if (!server) throw notStarted(stateFolder);
    this.#state = { ...this.#state, server };
    await this.#write();
    await this.#waitForServer(server);
  }

  async #write(): Promise<void> {
    if (this.#written === this.#state) return;
    this.#written = this.#state;
    await writeDevState(this.#settings.stateFolder, this.#state);
  }

  async #waitForServer(server: ProcessIdentity): Promise<void> {
    const deadline = Date.now() + SERVER_START_MS;
    while (!(await answers(targetOf(this.#state), '1 second'))) {
      if (this.#stopping) return;
      if (!isRunning(server) || Date.now() > deadline) throw notStarted(this.#settings.stateFolder);
      await sleep(100);
    }
  }

  #keepWorkers(): void {
    const workers = WORKERS.map((queues) => {
      const worker = this.#state.workers.find((candidate) => candidate.queues.join() === queues.join());
      if (worker && isRunning(worker.process)) return worker;
      return this.#startWorker([...queues], worker?.restarts) ?? worker;
    });
    const changed = workers.some((worker) => worker && !this.#state.workers.includes(worker));
    if (changed) this.#state = { ...this.#state, workers: workers.filter((worker) => worker !== undefined) };
  }

  #startWorker(queues: QueueKind[], restarts = -1): DevState['workers'][number] | undefined {
    const name = queues.join('-');
    const { count, notBefore } = this.#restarts.get(name) ?? { count: 0, notBefore: 0 };
    if (Date.now() < notBefore) return undefined;
    const wait = Math.min(500 * 2 ** count, MAX_RESTART_WAIT_MS);
    this.#restarts.set(name, {
      count: Date.now() > notBefore + MAX_RESTART_WAIT_MS ? 0 : count + 1,
      notBefore: Date.now() + wait,
    });
    const script = fileURLToPath(new URL(`./worker-process${extname(import.meta.url)}`, import.meta.url));
    const process_ = identityOf(
      this.#spawn(`worker-${name}`, process.execPath, [script, JSON.stringify(this.#workerOptions(queues))]),
    );
    return process_ && { queues, process: process_, restarts: restarts + 1 };
  }

  #workerOptions(queues: QueueKind[]): SoftflowWorkerOptions {
    const { stateFolder, backend, jobsModule } = this.#settings;
    return {
      target: targetOf(this.#state),
      queues,
      storeRoot: devPaths(stateFolder).store,
      ...(backend ? { backend } : {}),
      ...(jobsModule ? { jobsModule } : {}),
    };
  }

  /** A process that outlives this one, its output in a log file. */
  #spawn(name: string, command: string, args: string[]): ChildProcess {
    const { logs } = devPaths(this.#settings.stateFolder);
    mkdirSync(logs, { recursive: true });
    const log = openSync(join(logs, `${name}.log`), 'a');
    const child = spawn(command, args, { stdio: ['ignore', log, log], detached: true });
    child.on('error', () => {});
    child.unref();
    closeSync(log);
    return child;
  }
}

/** Ends workers first, so that what they are doing is written, then the server. Touches only what is recorded as ours. */
export async function shutDown(state: DevState): Promise<void> {
  await end(
    state.workers.map((worker) => worker.process),
    DRAIN_MS,
  );
  await end(state.server ? [state.server] : [], SERVER_STOP_MS);
}

async function end(processes: readonly ProcessIdentity[], patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (const process_ of processes) signalProcess(process_, 'SIGTERM');
  while (processes.some(isRunning) && Date.now() < deadline) await sleep(50);
  for (const process_ of processes) signalProcess(process_, 'SIGKILL');
}

export function targetOf({ address }: Pick<DevState, 'address'>): TemporalTarget {
  return { address, namespace: 'default' };
}

/** Whether a server answers there in time and has its namespace ready. */
export async function answers(target: TemporalTarget, patience: '1 second' | '5 seconds'): Promise<boolean> {
  try {
    const client = await connect(target, patience);
    try {
      await client.connection.workflowService.describeNamespace({ namespace: target.namespace });
      return true;
    } finally {
      await client.connection.close();
    }
  } catch {
    return false;
  }
}

/** Priorities hold within a partition of a queue; steps are so few that one is plenty. */
export const ONE_PARTITION: readonly string[] = ['Read', 'Write'].flatMap((kind) => [
  '--dynamic-config-value',
  `matching.numTaskqueue${kind}Partitions=1`,
]);

function serverArguments({ address, uiUrl }: DevState, database: string): string[] {
  const ports = ['--port', String(portOf(address)), '--ui-port', String(portOf(uiUrl))];
  const loopback = ['--ip', '127.0.0.1', '--ui-ip', '127.0.0.1'];
  return [
    'server',
    'start-dev',
    ...loopback,
    ...ports,
    '--db-filename',
    database,
    '--log-level',
    'warn',
    ...attributeArguments(),
    ...ONE_PARTITION,
  ];
}

/** What makes a development server know our search attributes. */
export function attributeArguments(): string[] {
  const type = { KEYWORD: 'Keyword', DOUBLE: 'Double' } as const;
  return Object.values(ATTRIBUTES).flatMap((each) => ['--search-attribute', `${each.name}=${type[each.type]}`]);
}

function portOf(address: string | undefined): number | undefined {
  const port = Number(address?.split(':').at(-1));
  return Number.isInteger(port) && port > 0 ? port : undefined;
}

function identityOf(child: ChildProcess): ProcessIdentity | undefined {
  return child.pid === undefined ? undefined : identify(child.pid);
}

function notStarted(stateFolder: string): SoftflowError {
  const log = join(devPaths(stateFolder).logs, 'server.log');
  return new SoftflowError(
    'TEMPORAL_NOT_STARTED',
    `The embedded Temporal server did not start; ${log} says why. Correct it, or name a server in TEMPORAL_ADDRESS.`,
    { details: { log } },
  );
}
