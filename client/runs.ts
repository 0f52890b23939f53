import { randomBytes } from 'node:crypto';
import type { Client, WorkflowExecutionDescription, WorkflowHandle } from '@temporalio/client';
import type { Progress } from '../activities/contracts.ts';
import type { StartRecord } from '../activities/run-records.ts';
import { readRunSources } from '../artifacts/run-sources.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { priorityOf } from '../workflows/priority.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { plannedSteps } from '../workflows/run-plan.ts';
import { initialState, type RunStatus, toStatus } from '../workflows/run-state.ts';
import type { softWorkflow } from '../workflows/soft-workflow.ts';
import { DEFAULT_TASK_QUEUE } from '../workflows/task-queues.ts';
import { searchAttributes } from './search-attributes.ts';
import { type Moved, movedSteps } from './step-moves.ts';
import { closed, ENDED_AS, elapsed, isError } from './workflow-end.ts';

export interface RunsOptions {
  /** Absent where only the store can be asked. */
  client?: Client;
  store: Store;
  /** Base name of the task queues. */
  taskQueue?: string;
  /** For tests: how soon a silent worker counts as lost. */
  heartbeatTimeoutSeconds?: number;
}

/** A run at one moment. */
export interface RunLook extends Moved {
  status: RunStatus;
  /** Of the steps at work; empty while they wait for a worker. */
  progress: Progress[];
  elapsedSeconds?: number;
  /** Trouble, in a sentence. */
  notice?: string;
}

const KIND = { config: 'config', start: 'start', status: 'status' } as const;
/** A record's name has 64 characters at most. */
const NAME_LENGTH = 55;
const QUERY_TIMEOUT_MS = 3000;
/** Temporal's packages are loaded once a server is asked: most of a command's start-up, and the store needs none of them. */
const messages = () => import('../workflows/messages.ts');

/** Every call about runs. The store is the record of runs; Temporal is how they move. */
export class Runs {
  readonly #client: Client | undefined;
  readonly #store: Store;
  readonly #taskQueue: string;
  readonly #heartbeatTimeoutSeconds: number | undefined;

  constructor({ client, store, taskQueue = DEFAULT_TASK_QUEUE, heartbeatTimeoutSeconds }: RunsOptions) {
    this.#client = client;
    this.#store = store;
    this.#taskQueue = taskQueue;
    this.#heartbeatTimeoutSeconds = heartbeatTimeoutSeconds;
  }

  /** Starts a run and returns its id, `<name>-<8 hex digits>`. */
  async start(config: RunConfig, { recipe }: { recipe?: string } = {}): Promise<string> {
    const runId = `${config.name.slice(0, NAME_LENGTH)}-${randomBytes(4).toString('hex')}`;
    const record: StartRecord = {
      createdAt: new Date().toISOString(),
      tags: config.tags,
      ...(recipe === undefined ? {} : { recipe }),
    };
    await this.#store.putRunRecord(runId, KIND.config, config);
    await this.#store.putRunRecord(runId, KIND.start, record);
    await this.#startWorkflow(runId, config);
    return runId;
  }

  /**
   * Takes up a run that was paused, stopped, cancelled, terminated or has failed: what is done is reused, what is half
   * done goes on from its last checkpoint.
   *
   * @throws SoftflowError `RUN_NOT_FOUND`, `RUN_ACTIVE`, `RUN_COMPLETED`
   */
  async resume(runId: string): Promise<void> {
    const { phase } = (await this.look(runId)).status;
    const open = (await this.#describe(runId))?.status.name === 'RUNNING';
    // The workflow itself knows whether it is paused; what the store says last may be older.
    if (open)
      await this.#update((handle, { resumeUpdate }) => handle.executeUpdate(resumeUpdate), runId).catch(
        refusedAsActive(runId),
      );
    else if (phase === 'waiting') throw waiting(runId);
    else if (phase === 'completed')
      throw new SoftflowError('RUN_COMPLETED', `Run ${runId} is completed; start another run for other settings.`);
    else await this.#startWorkflow(runId, (await this.config(runId)) as RunConfig);
  }

  /** Stops at the next micro-batch or tile and holds the run there. @throws SoftflowError `UPDATE_REFUSED` */
  pause(runId: string): Promise<RunStatus> {
    return this.#update((handle, { pauseUpdate }) => handle.executeUpdate(pauseUpdate), runId);
  }

  /** Ends the run now, or after the epoch in progress; it can be resumed. @throws SoftflowError `UPDATE_REFUSED` */
  stop(runId: string, after: 'now' | 'round'): Promise<RunStatus> {
    return this.#update((handle, { stopUpdate }) => handle.executeUpdate(stopUpdate, { args: [{ after }] }), runId);
  }

  /** Another pace of the curriculum, from the next round on. @throws SoftflowError `UPDATE_REFUSED` */
  setCurriculumAlpha(runId: string, curriculumAlpha: number): Promise<RunStatus> {
    return this.#update(
      (handle, { setCurriculumAlphaUpdate }) =>
        handle.executeUpdate(setCurriculumAlphaUpdate, { args: [curriculumAlpha] }),
      runId,
    );
  }

  /** Waits for the end. @throws SoftflowError with the code of what ended the run */
  async result(runId: string): Promise<RunStatus> {
    try {
      return await this.#handle(runId).result();
    } catch (error) {
      if (!isError(error, 'WorkflowFailedError')) throw error;
      const { status } = await this.look(runId);
      const { code = 'RUN_FAILED', message = error.cause?.message ?? error.message } = status.error ?? {};
      throw new SoftflowError(code, `Run ${runId}: ${message}`, { cause: error, details: { runId } });
    }
  }

  /**
   * Where a run stands, with the live progress of what it is doing. Answers from the store when no worker or no server
   * is alive, or the run has left the server.
   *
   * @throws SoftflowError `RUN_NOT_FOUND`
   */
  async look(runId: string): Promise<RunLook> {
    const description = await this.#describe(runId);
    const recorded = await this.#recorded(runId);
    if (!description) return this.#fromStore(runId, recorded);
    const phase = ENDED_AS[description.status.name];
    if (phase) return { status: closed(recorded, phase, description), progress: [], ...elapsed(description) };
    const live = await this.#query(runId);
    const { pendingActivities, silenceOf } = await import('./pending-activities.ts');
    const { payloadCodecs } = this.#requireClient().options.loadedDataConverter;
    const { progress, notice } = await pendingActivities(description, payloadCodecs);
    const hint = live ? notice : silenceOf(description);
    const status = live ?? recorded;
    const moved = await movedSteps(this.#store, status);
    return { status, progress, ...elapsed(description), ...(hint ? { notice: hint } : {}), ...moved };
  }

  /** The resolved config of a run. @throws SoftflowError `RUN_NOT_FOUND` */
  async config(runId: string): Promise<unknown> {
    const record = await this.#store.readRunRecord(runId, KIND.config);
    if (record) return record.value;
    throw await this.#notFound(runId);
  }

  /** Ids of all runs, newest first. */
  async list(): Promise<string[]> {
    const known = await Promise.all((await this.#store.listRuns()).map((runId) => this.#createdAt(runId)));
    // A retrain that ended before it trained has a record, and no run.
    const runs = known.filter(({ createdAt }) => createdAt !== undefined) as { runId: string; createdAt: string }[];
    return runs.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1)).map(({ runId }) => runId);
  }

  /** `latest`, an id, or the beginning of one, made into an id. @throws SoftflowError `RUN_NOT_FOUND`, `RUN_AMBIGUOUS` */
  async find(name: string): Promise<string> {
    const runs = await this.list();
    if (name === 'latest' && runs[0]) return runs[0];
    const matches = runs.includes(name) ? [name] : runs.filter((runId) => runId.startsWith(name));
    if (matches.length === 1 && matches[0]) return matches[0];
    if (matches.length === 0) throw await this.#notFound(name);
    throw new SoftflowError(
      'RUN_AMBIGUOUS',
      `"${name}" fits several runs: ${matches.join(', ')}. Write more of its id.`,
    );
  }

  async #startWorkflow(runId: string, config: RunConfig): Promise<void> {
    const heartbeatTimeoutSeconds = this.#heartbeatTimeoutSeconds;
    try {
      await this.#requireClient().workflow.start<typeof softWorkflow>('softWorkflow', {
        workflowId: runId,
        taskQueue: this.#taskQueue,
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        staticSummary: `SOFT run ${config.name}`,
        memo: { name: config.name, tags: config.tags },
        ...(await searchAttributes(this.#requireClient(), config)),
        priority: priorityOf('manual', config.name),
        args: [
          { config, ...(await this.#sources(runId)), ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}) },
        ],
      });
    } catch (error) {
      if (isError(error, 'WorkflowExecutionAlreadyStartedError')) throw active(runId);
      throw error;
    }
  }

  /** A run of a sweep goes on with the data that the sweep was begun with. */
  async #sources(runId: string): Promise<{ sourcesOf?: string }> {
    const { sweep } = ((await this.#store.readRunRecord(runId, KIND.start))?.value ?? {}) as Partial<StartRecord>;
    return sweep !== undefined && (await readRunSources(this.#store, sweep)) ? { sourcesOf: sweep } : {};
  }

  async #update(
    send: (
      handle: WorkflowHandle<typeof softWorkflow>,
      updates: Awaited<ReturnType<typeof messages>>,
    ) => Promise<RunStatus>,
    runId: string,
  ): Promise<RunStatus> {
    try {
      return await send(this.#handle(runId), await messages());
    } catch (error) {
      if (isError(error, 'WorkflowUpdateFailedError'))
        throw new SoftflowError('UPDATE_REFUSED', `Run ${runId}: ${error.cause?.message ?? error.message}`);
      if (isError(error, 'WorkflowNotFoundError')) throw await this.#notActive(runId);
      throw error;
    }
  }

  async #notActive(runId: string): Promise<SoftflowError> {
    const { phase } = (await this.look(runId)).status;
    const next =
      phase === 'completed' ? 'Start another run for other settings.' : `\`softflow resume ${runId}\` takes it up.`;
    return new SoftflowError('RUN_NOT_ACTIVE', `Run ${runId} is not running: it is ${phase}. ${next}`);
  }

  async #describe(runId: string): Promise<WorkflowExecutionDescription | undefined> {
    if (!this.#client) return undefined;
    try {
      return await this.#handle(runId).describe();
    } catch (error) {
      if (isError(error, 'WorkflowNotFoundError')) return undefined;
      throw error;
    }
  }

  /** The workflow's own answer; undefined when no worker gives one in time. */
  async #query(runId: string): Promise<RunStatus | undefined> {
    const client = this.#requireClient();
    const { statusQuery } = await messages();
    try {
      return await client.withDeadline(Date.now() + QUERY_TIMEOUT_MS, () => this.#handle(runId).query(statusQuery));
    } catch {
      return undefined;
    }
  }

  /** The last status that the run wrote into the store, or that of a run which has just begun. */
  async #recorded(runId: string): Promise<RunStatus> {
    const record = await this.#store.readRunRecord(runId, KIND.status);
    if (record) return record.value as RunStatus;
    const config = (await this.config(runId)) as RunConfig;
    return toStatus(runId, 'running', initialState(config.soft.curriculumAlpha, plannedSteps(config)));
  }

  #fromStore(runId: string, status: RunStatus): RunLook {
    const open = ['running', 'paused', 'stopping'].includes(status.phase);
    if (!open) return { status, progress: [] };
    const notice = this.#client
      ? `The server does not know this run any more. \`softflow resume ${runId}\` takes it up where it was.`
      : 'No Temporal server is running; this is where the run stood last.';
    return { status, progress: [], notice };
  }

  async #createdAt(runId: string): Promise<{ runId: string; createdAt: string | undefined }> {
    const record = await this.#store.readRunRecord(runId, KIND.start);
    return { runId, createdAt: (record?.value as StartRecord | undefined)?.createdAt };
  }

  async #notFound(name: string): Promise<SoftflowError> {
    const runs = await this.list();
    const known = runs.length > 0 ? `The newest are ${runs.slice(0, 5).join(', ')}.` : 'There are none yet.';
    return new SoftflowError('RUN_NOT_FOUND', `No run "${name}" in the store ${this.#store.root}. ${known}`, {
      details: { name, store: this.#store.root },
    });
  }

  #handle(runId: string): WorkflowHandle<typeof softWorkflow> {
    return this.#requireClient().workflow.getHandle<typeof softWorkflow>(runId);
  }

  #requireClient(): Client {
    if (this.#client) return this.#client;
    throw new SoftflowError('TEMPORAL_UNREACHABLE', 'This needs a Temporal server, and none is connected.');
  }
}

function refusedAsActive(runId: string): (error: unknown) => never {
  return (error) => {
    throw error instanceof SoftflowError && error.code === 'UPDATE_REFUSED' ? active(runId) : error;
  };
}

/** A run of a sweep is the sweep's to move. */
function waiting(runId: string): SoftflowError {
  const sweep = runId.replace(/-\d+$/, '');
  const next = `\`softflow status ${sweep}\` shows them; \`softflow resume ${sweep}\` takes up a sweep that has ended.`;
  return new SoftflowError('RUN_ACTIVE', `Run ${runId} waits for the other runs of its sweep. ${next}`);
}

function active(runId: string): SoftflowError {
  return new SoftflowError('RUN_ACTIVE', `Run ${runId} is running already; \`softflow status ${runId}\` shows it.`);
}
