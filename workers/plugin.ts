import { type ReplayWorkerOptions, Worker, type WorkerOptions, type WorkerPlugin } from '@temporalio/worker';
import type { Activities } from '../activities/create-activities.ts';
import { SoftflowError } from '../errors.ts';
import { QUEUE_KINDS, type QueueKind } from '../workflows/task-queues.ts';
import { type Machine, type MachineOptions, openMachine } from './machine.ts';
import { lightActivities, queueOptions, SHUTDOWN_GRACE } from './queue-options.ts';
import { memberOf, runTogether } from './run-together.ts';
import { workflowBundle, workflowsPath } from './workflow-bundle.ts';

export interface SoftflowPluginOptions extends MachineOptions {
  /**
   * Which of softflow's queues this process serves: `workflow` is the worker's own task queue, `cpu` and `gpu` are that name
   * with `-cpu` and `-gpu` behind it.
   * @default all
   */
  queues?: readonly QueueKind[];
}

/** What a worker with the plugin was created with. */
interface Host {
  options: WorkerOptions;
  machine: Machine;
}

/**
 * Adds SOFT to a Temporal worker of your own: its task queue then also runs softflow's workflows and light activities, and
 * workers of the steps' queues run beside it, with its connection, namespace, data converter and other plugins. They
 * begin and end with it.
 *
 * A worker with workflows of its own has to export softflow's beside them: `export * from 'softflow/workflows'`. One
 * without gets them from here.
 *
 * @example
 * const worker = await Worker.create({ connection, taskQueue: 'team', plugins: [new SoftflowPlugin({ storeRoot: '/srv/soft' })] });
 * await worker.run();
 */
export class SoftflowPlugin implements WorkerPlugin {
  readonly name = 'softflow';
  readonly #machine: MachineOptions;
  readonly #queues: readonly QueueKind[];
  /** By task queue. */
  readonly #hosts = new Map<string, Host>();
  /** Task queues of the workers beside them, which get the plugin again when it is one of the connection. */
  readonly #beside = new Set<string>();

  constructor({ queues = QUEUE_KINDS, ...machine }: SoftflowPluginOptions) {
    this.#machine = machine;
    this.#queues = queues;
  }

  /** @throws SoftflowError `ACTIVITY_NAME_TAKEN`, `REPLACEMENT_INVALID`, and those of the store */
  async configureWorker(options: WorkerOptions): Promise<WorkerOptions> {
    const { taskQueue } = options;
    // Without a task queue the SDK refuses the worker in its own words.
    if (!taskQueue || this.#beside.has(taskQueue)) return options;
    const machine = await openMachine(this.#machine, taskQueue, options.identity);
    this.#hosts.set(taskQueue, { options, machine });
    if (!this.#queues.includes('workflow')) return options;
    const light = lightActivities(machine.activities);
    return { ...(await withWorkflows(options)), activities: merged(options.activities, light) };
  }

  async configureReplayWorker(options: ReplayWorkerOptions): Promise<ReplayWorkerOptions> {
    return withWorkflows(options);
  }

  async runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    const { taskQueue } = worker.options;
    const host = this.#hosts.get(taskQueue);
    if (!host) return next(worker);
    try {
      const beside = await this.#createBeside(taskQueue, host);
      await runTogether([memberOf(worker, () => next(worker)), ...beside.map((each) => memberOf(each))]);
    } finally {
      host.machine.trainer.close();
      this.#hosts.delete(taskQueue);
    }
  }

  async #createBeside(base: string, { options, machine }: Host): Promise<Worker[]> {
    const kinds = this.#queues.filter((kind) => kind !== 'workflow');
    const parts = (await Promise.all(kinds.map((kind) => queueOptions(kind, base, machine)))).flat();
    for (const { taskQueue } of parts) this.#beside.add(taskQueue);
    return Promise.all(parts.map((part) => Worker.create({ ...inherited(options, this), ...part })));
  }
}

/** What the workers beside a host have from it. */
function inherited(options: WorkerOptions, plugin: SoftflowPlugin): Omit<WorkerOptions, 'taskQueue'> {
  const { connection, namespace, dataConverter, identity, interceptors, plugins = [] } = options;
  return {
    ...(connection ? { connection } : {}),
    ...(namespace === undefined ? {} : { namespace }),
    ...(dataConverter ? { dataConverter } : {}),
    ...(identity === undefined ? {} : { identity }),
    ...(interceptors?.activity ? { interceptors: { activity: interceptors.activity } } : {}),
    // Those of the connection come again with it.
    plugins: plugins.filter((each) => each !== plugin && !connection?.plugins.includes(each)),
    shutdownGraceTime: SHUTDOWN_GRACE,
  };
}

/** softflow's workflows for a worker that has none; bundled by the SDK when something of its own is to go into the bundle. */
async function withWorkflows<Options extends WorkerOptions | ReplayWorkerOptions>(options: Options): Promise<Options> {
  const { workflowsPath: path, workflowBundle: bundle, interceptors, dataConverter } = options;
  if (path || bundle) return options;
  const { payloadConverterPath, failureConverterPath } = dataConverter ?? {};
  const ownCode = interceptors?.workflowModules?.length || payloadConverterPath || failureConverterPath;
  return { ...options, ...(ownCode ? { workflowsPath } : { workflowBundle: await workflowBundle() }) };
}

function merged(own: object | undefined, ours: Partial<Activities>): object {
  const taken = Object.keys(own ?? {}).filter((name) => name in ours);
  if (taken.length === 0) return { ...own, ...ours };
  throw new SoftflowError(
    'ACTIVITY_NAME_TAKEN',
    `The worker has activities under names of softflow's: ${taken.join(', ')}. Rename them, or, if they are meant to take ` +
      'the place of those, give them to the plugin: new SoftflowPlugin({ replace: { ... } }).',
    { details: { taken } },
  );
}
