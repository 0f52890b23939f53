import { randomBytes } from 'node:crypto';
import type { Client, WorkflowExecutionDescription, WorkflowHandle } from '@temporalio/client';
import type { SweepStartRecord } from '../activities/run-records.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { priorityOf } from '../workflows/priority.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import {
  SWEEP_RECORDS,
  type SweepInput,
  type SweepPlan,
  type SweepRun,
  type SweepStatus,
  valueOfRounds,
} from '../workflows/sweep-state.ts';
import type { sweepWorkflow } from '../workflows/sweep-workflow.ts';
import { DEFAULT_TASK_QUEUE } from '../workflows/task-queues.ts';
import { type RunLook, Runs, type RunsOptions } from './runs.ts';
import { ENDED_AS, elapsed, isError, reopened } from './workflow-end.ts';

/** A sweep at one moment. */
export interface SweepLook {
  /** With the rounds that its runs have done since the sweep itself was told. */
  status: SweepStatus;
  /** Of the runs at work, by their id: where they stand. */
  atWork: Record<string, RunLook>;
  elapsedSeconds?: number;
  /** Trouble, in a sentence. */
  notice?: string;
}

/** With `-sweep-` and the number of a run a name has 64 characters at most. */
const NAME_LENGTH = 44;
const QUERY_TIMEOUT_MS = 3000;
const messages = () => import('../workflows/sweep-messages.ts');

/** Every call about sweeps. */
export class Sweeps {
  readonly #client: Client | undefined;
  readonly #store: Store;
  readonly #runs: Runs;
  readonly #taskQueue: string;
  readonly #heartbeatTimeoutSeconds: number | undefined;

  constructor(options: RunsOptions) {
    const { client, store, taskQueue = DEFAULT_TASK_QUEUE, heartbeatTimeoutSeconds } = options;
    this.#client = client;
    this.#store = store;
    this.#runs = new Runs(options);
    this.#taskQueue = taskQueue;
    this.#heartbeatTimeoutSeconds = heartbeatTimeoutSeconds;
  }

  /** Starts a sweep and returns its id, `<name>-sweep-<8 hex digits>`; its runs are `<id>-1` and so on. */
  async start(config: RunConfig, sweep: SweepPlan, { recipe }: { recipe?: string } = {}): Promise<string> {
    const sweepId = `${config.name.slice(0, NAME_LENGTH)}-sweep-${randomBytes(4).toString('hex')}`;
    const begun = recipe === undefined ? {} : { recipe };
    const record: SweepStartRecord = { createdAt: new Date().toISOString(), input: { config, sweep }, ...begun };
    await this.#store.putRunRecord(sweepId, SWEEP_RECORDS.start, record);
    await this.#startWorkflow(sweepId, { config, sweep, ...begun });
    return sweepId;
  }

  /** Ids of all sweeps and when they began, newest first. */
  async list(): Promise<{ sweepId: string; createdAt: string }[]> {
    const found = await Promise.all(
      (await this.#store.listRuns()).map(async (sweepId) => {
        const record = await this.#store.readRunRecord(sweepId, SWEEP_RECORDS.start);
        return record ? [{ sweepId, createdAt: (record.value as SweepStartRecord).createdAt }] : [];
      }),
    );
    return found.flat().sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  }

  /** Whether there is a sweep of this id. */
  async has(sweepId: string): Promise<boolean> {
    return (await this.#store.readRunRecord(sweepId, SWEEP_RECORDS.start)) !== undefined;
  }

  /** Where a sweep and its runs stand; from the store where no worker or server answers. @throws SoftflowError `RUN_NOT_FOUND` */
  async look(sweepId: string): Promise<SweepLook> {
    const recorded = await this.#recorded(sweepId);
    const description = await this.#describe(sweepId);
    if (!description) return this.#fromStore(recorded);
    const { status } = description;
    const { elapsedSeconds } = elapsed(description);
    if (status.name !== 'RUNNING') return { status: closedSweep(recorded, status.name), atWork: {}, elapsedSeconds };
    const live = await this.#query(sweepId);
    const looked = await this.#lookAtRuns(live ?? reopened(recorded));
    if (live) return { ...looked, elapsedSeconds };
    const notice = 'No worker answers for the workflow; the sweep waits until one is started.';
    return { ...looked, elapsedSeconds, notice };
  }

  /**
   * Goes on after `pause`; takes up a sweep that was stopped or has failed, with everything reused that is done.
   *
   * @throws SoftflowError `RUN_NOT_FOUND`, `RUN_ACTIVE`, `RUN_COMPLETED`
   */
  async resume(sweepId: string): Promise<void> {
    const { phase } = (await this.look(sweepId)).status;
    if ((await this.#describe(sweepId))?.status.name === 'RUNNING') {
      const { resumeSweepUpdate } = await messages();
      await this.#update(sweepId, (handle) => handle.executeUpdate(resumeSweepUpdate)).catch((error: unknown) => {
        throw error instanceof SoftflowError && error.code === 'UPDATE_REFUSED' ? active(sweepId) : error;
      });
    } else if (phase === 'completed')
      throw new SoftflowError('RUN_COMPLETED', `Sweep ${sweepId} is completed; start another one for other settings.`);
    else await this.#startWorkflow(sweepId, await this.#input(sweepId));
  }

  /** Holds every run at its next micro-batch or tile. @throws SoftflowError `UPDATE_REFUSED`, `RUN_NOT_ACTIVE` */
  async pause(sweepId: string): Promise<SweepStatus> {
    const { pauseSweepUpdate } = await messages();
    return this.#update(sweepId, (handle) => handle.executeUpdate(pauseSweepUpdate));
  }

  /** Ends every run now, or after the epoch in progress. @throws SoftflowError `UPDATE_REFUSED`, `RUN_NOT_ACTIVE` */
  async stop(sweepId: string, after: 'now' | 'round'): Promise<SweepStatus> {
    const { stopSweepUpdate } = await messages();
    return this.#update(sweepId, (handle) => handle.executeUpdate(stopSweepUpdate, { args: [{ after }] }));
  }

  /** Waits for the end. @throws SoftflowError with the code of what ended the sweep */
  async result(sweepId: string): Promise<SweepStatus> {
    try {
      return await this.#handle(sweepId).result();
    } catch (error) {
      if (!isError(error, 'WorkflowFailedError')) throw error;
      const { status } = await this.look(sweepId);
      const { type } = (error.cause ?? {}) as { type?: string };
      const code = type ?? status.error?.code ?? 'SWEEP_FAILED';
      const message = error.cause?.message ?? error.message;
      throw new SoftflowError(code, `Sweep ${sweepId}: ${message}`, { cause: error, details: { sweepId } });
    }
  }

  /** What the runs at work have done since the sweep was told of them. */
  async #lookAtRuns(status: SweepStatus): Promise<Pick<SweepLook, 'status' | 'atWork'>> {
    const atWork: Record<string, RunLook> = {};
    const runs = await Promise.all(
      status.runs.map(async (run): Promise<SweepRun> => {
        if (run.phase !== 'running') return run;
        const look = await this.#runs.look(run.runId).catch(() => undefined);
        if (!look || look.status.curriculum.length < run.round) return run;
        atWork[run.runId] = look;
        const config = (await this.#runs.config(run.runId)) as RunConfig;
        const { curriculum, phase } = look.status;
        const at = phase === 'paused' || phase === 'stopping' ? phase : run.phase;
        return { ...run, phase: at, round: curriculum.length, value: valueOfRounds(config, look.status) };
      }),
    );
    return { status: { ...status, runs }, atWork };
  }

  async #fromStore(status: SweepStatus): Promise<SweepLook> {
    if (!['running', 'paused', 'stopping'].includes(status.phase)) return { status, atWork: {} };
    const notice = this.#client
      ? `The server does not know this sweep any more. \`softflow resume ${status.sweepId}\` takes it up where it was.`
      : 'No Temporal server is running; this is where the sweep stood last.';
    return { status, atWork: {}, notice };
  }

  async #recorded(sweepId: string): Promise<SweepStatus> {
    const record = await this.#store.readRunRecord(sweepId, SWEEP_RECORDS.status);
    return record ? (record.value as SweepStatus) : begun(sweepId, await this.#input(sweepId));
  }

  async #input(sweepId: string): Promise<SweepInput> {
    const record = await this.#store.readRunRecord(sweepId, SWEEP_RECORDS.start);
    if (record) {
      const { input, recipe } = record.value as SweepStartRecord;
      return { ...(input as Pick<SweepInput, 'config' | 'sweep'>), ...(recipe === undefined ? {} : { recipe }) };
    }
    throw new SoftflowError('RUN_NOT_FOUND', `No sweep "${sweepId}" in the store ${this.#store.root}.`);
  }

  async #startWorkflow(sweepId: string, input: SweepInput): Promise<void> {
    const heartbeatTimeoutSeconds = this.#heartbeatTimeoutSeconds;
    const { name, tags } = input.config as RunConfig;
    try {
      await this.#requireClient().workflow.start<typeof sweepWorkflow>('sweepWorkflow', {
        workflowId: sweepId,
        taskQueue: this.#taskQueue,
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        staticSummary: `sweep ${name}`,
        memo: { name, tags },
        priority: priorityOf('sweep', name),
        args: [{ ...input, ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}) }],
      });
    } catch (error) {
      if (isError(error, 'WorkflowExecutionAlreadyStartedError')) throw active(sweepId);
      throw error;
    }
  }

  async #update<T>(sweepId: string, send: (handle: WorkflowHandle<typeof sweepWorkflow>) => Promise<T>): Promise<T> {
    try {
      return await send(this.#handle(sweepId));
    } catch (error) {
      if (isError(error, 'WorkflowUpdateFailedError'))
        throw new SoftflowError('UPDATE_REFUSED', `Sweep ${sweepId}: ${error.cause?.message ?? error.message}`);
      if (isError(error, 'WorkflowNotFoundError'))
        throw new SoftflowError(
          'RUN_NOT_ACTIVE',
          `Sweep ${sweepId} is not running. \`softflow resume ${sweepId}\` takes it up.`,
        );
      throw error;
    }
  }

  async #describe(sweepId: string): Promise<WorkflowExecutionDescription | undefined> {
    if (!this.#client) return undefined;
    try {
      return await this.#handle(sweepId).describe();
    } catch (error) {
      if (isError(error, 'WorkflowNotFoundError')) return undefined;
      throw error;
    }
  }

  async #query(sweepId: string): Promise<SweepStatus | undefined> {
    const { sweepStatusQuery } = await messages();
    const client = this.#requireClient();
    try {
      return await client.withDeadline(Date.now() + QUERY_TIMEOUT_MS, () =>
        this.#handle(sweepId).query(sweepStatusQuery),
      );
    } catch {
      return undefined;
    }
  }

  #handle(sweepId: string): WorkflowHandle<typeof sweepWorkflow> {
    return this.#requireClient().workflow.getHandle<typeof sweepWorkflow>(sweepId);
  }

  #requireClient(): Client {
    if (this.#client) return this.#client;
    throw new SoftflowError('TEMPORAL_UNREACHABLE', 'This needs a Temporal server, and none is connected.');
  }
}

/** A sweep whose workflow has not written anything yet. */
function begun(sweepId: string, { config, sweep }: SweepInput): SweepStatus {
  const { name, evaluation } = config as RunConfig;
  const { runs, maxParallel, budgetSeconds = null } = sweep;
  return {
    sweepId,
    name,
    phase: 'running',
    metric: evaluation.metric,
    rungs: [],
    maxParallel,
    budgetSeconds,
    spent: false,
    runs: runs.map((settings, i) => ({
      runId: `${sweepId}-${i + 1}`,
      settings,
      phase: 'pending',
      round: 0,
      value: null,
    })),
    best: null,
  };
}

/** A sweep that was terminated could not say so itself. */
function closedSweep(recorded: SweepStatus, name: string): SweepStatus {
  const phase = ENDED_AS[name];
  // One that has completed for Temporal may have been stopped on request, and says so itself.
  if (!phase || phase === 'completed' || recorded.phase === phase) return recorded;
  const message = `The workflow ended as ${name.toLowerCase()} before it could say why.`;
  const error = { code: name, message, retryable: true };
  return { ...recorded, phase, ...(phase === 'failed' ? { error } : {}) };
}

function active(sweepId: string): SoftflowError {
  return new SoftflowError(
    'RUN_ACTIVE',
    `Sweep ${sweepId} is running already; \`softflow status ${sweepId}\` shows it.`,
  );
}
