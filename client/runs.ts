import { randomBytes } from 'node:crypto';
import type { Client, WorkflowExecutionDescription, WorkflowHandle } from '@temporalio/client';
import type { Progress } from '../activities/contracts.ts';
import { joined } from '../artifacts/run-status.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { priorityOf } from '../workflows/priority.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { Attempt, RunStatus } from '../workflows/run-state.ts';
import type { softWorkflow } from '../workflows/soft-workflow.ts';
import { DEFAULT_TASK_QUEUE } from '../workflows/task-queues.ts';
import { dataIsGone, type RunPart, requireSense, type StepRange, stepRange } from './run-part.ts';
import { RunRecords } from './run-records.ts';
import { active, completed, notEnded, refusedAsActive, waiting } from './run-refusals.ts';
import { searchAttributes } from './search-attributes.ts';
import { type Attempts, attemptsAtWork } from './step-moves.ts';
import { closed, ENDED_AS, elapsed, isError, reopened } from './workflow-end.ts';

export interface RunsOptions {
  /** Absent where only the store can be asked. */
  client?: Client;
  store: Store;
  /** Base name of the task queues. */
  taskQueue?: string;
  /** For tests: how soon a silent worker counts as lost. */
  heartbeatTimeoutSeconds?: number;
}

export interface StartOptions {
  /** What the person named, e.g. `recipes/demo.yaml`. */
  recipe?: string;
  /** Stage or step after which the run stops. */
  until?: string;
}

/** A run at one moment. */
export interface RunLook extends Attempts {
  status: RunStatus;
  /** Of the steps at work; empty while they wait for a worker. */
  progress: Progress[];
  elapsedSeconds?: number;
  /** Trouble, in a sentence. */
  notice?: string;
}

/** A record's name has 64 characters at most. */
const NAME_LENGTH = 55;
/** Of every run. */
const FIRST_STEP = 'prepare';
const QUERY_TIMEOUT_MS = 3000;
/** Temporal's packages are loaded once a server is asked: most of a command's start-up, and the store needs none of them. */
const messages = () => import('../workflows/messages.ts');

/** Every call about runs. The store is the record of runs; Temporal is how they move. */
export class Runs {
  readonly #client: Client | undefined;
  readonly #store: Store;
  readonly #records: RunRecords;
  readonly #taskQueue: string;
  readonly #heartbeatTimeoutSeconds: number | undefined;

  constructor({ client, store, taskQueue = DEFAULT_TASK_QUEUE, heartbeatTimeoutSeconds }: RunsOptions) {
    this.#client = client;
    this.#store = store;
    this.#records = new RunRecords(store);
    this.#taskQueue = taskQueue;
    this.#heartbeatTimeoutSeconds = heartbeatTimeoutSeconds;
  }

  /**
   * Starts a run and returns its id, `<name>-<8 hex digits>`.
   *
   * @param options.until stage or step after which it stops
   * @throws SoftflowError `PART_UNKNOWN`
   */
  async start(config: RunConfig, { recipe, until }: StartOptions = {}): Promise<string> {
    const range = stepRange(config, until === undefined ? {} : { until });
    const runId = `${config.name.slice(0, NAME_LENGTH)}-${randomBytes(4).toString('hex')}`;
    await this.#records.begin(runId, config, recipe);
    await this.#startWorkflow(runId, config, range);
    return runId;
  }

  /**
   * Takes up a run that was paused, stopped, cancelled, terminated or has failed: what is done is reused, what is half
   * done goes on from its last checkpoint. With `from` everything from there on is computed once more, also of a run
   * that is completed; with `until` the run stops there.
   *
   * @throws SoftflowError `RUN_NOT_FOUND`, `RUN_ACTIVE`, `RUN_COMPLETED`, `PART_UNKNOWN`, `PART_REFUSED`
   */
  async resume(runId: string, part: RunPart = {}): Promise<void> {
    const { status } = await this.look(runId);
    const config = (await this.config(runId)) as RunConfig;
    const range = stepRange(config, part);
    const open = (await this.#describe(runId))?.status.name === 'RUNNING';
    if (open && range.from !== undefined) throw notEnded(runId, range.from);
    if (!open && status.phase === 'waiting') throw waiting(runId);
    if (!open && status.phase === 'completed' && range.from === undefined) throw completed(runId);
    requireSense(config, status, range);
    // The workflow itself knows whether it is paused; what the store says last may be older.
    if (open) await this.#goOn(runId, range);
    else await this.#startWorkflow(runId, config, { ...range, ...(await this.#attempts(runId, range)) });
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
      const ended = await this.#handle(runId).result();
      return joined(await this.#records.status(runId), ended);
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
    const recorded = await this.#records.status(runId);
    if (!description) return this.#fromStore(runId, recorded);
    const phase = ENDED_AS[description.status.name];
    if (phase) return { status: closed(recorded, phase, description), progress: [], ...elapsed(description) };
    const live = await this.#query(runId);
    const { pendingActivities, silenceOf } = await import('./pending-activities.ts');
    const { payloadCodecs } = this.#requireClient().options.loadedDataConverter;
    const { progress, notice } = await pendingActivities(description, payloadCodecs);
    const hint = live ? notice : silenceOf(description);
    const status = live ? joined(recorded, live) : reopened(recorded);
    const attempts = await attemptsAtWork(this.#store, status);
    return { status, progress, ...elapsed(description), ...(hint ? { notice: hint } : {}), ...attempts };
  }

  /** The resolved config of a run. @throws SoftflowError `RUN_NOT_FOUND` */
  config(runId: string): Promise<unknown> {
    return this.#records.config(runId);
  }

  /** Ids of all runs, newest first. */
  list(): Promise<string[]> {
    return this.#records.list();
  }

  /** `latest`, an id, or the beginning of one, made into an id. @throws SoftflowError `RUN_NOT_FOUND`, `RUN_AMBIGUOUS` */
  find(name: string): Promise<string> {
    return this.#records.find(name);
  }

  async #startWorkflow(
    runId: string,
    config: RunConfig,
    { lastStep, attempts = [] }: StepRange & { attempts?: readonly Attempt[] },
  ): Promise<void> {
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
          {
            config,
            ...(await this.#sources(runId)),
            ...(lastStep === undefined ? {} : { lastStep }),
            ...(attempts.length > 0 ? { attempts } : {}),
            ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}),
          },
        ],
      });
    } catch (error) {
      if (isError(error, 'WorkflowExecutionAlreadyStartedError')) throw active(runId);
      throw error;
    }
  }

  /** A run of a sweep goes on with the data that the sweep was begun with. */
  async #sources(runId: string): Promise<{ sourcesOf?: string }> {
    const sweep = await this.#records.sweepOf(runId);
    return sweep !== undefined && (await this.#records.hasCopiedData(sweep)) ? { sourcesOf: sweep } : {};
  }

  async #attempts(runId: string, { from }: StepRange): Promise<{ attempts: readonly Attempt[] }> {
    const owner = (await this.#records.sweepOf(runId)) ?? runId;
    if (from === FIRST_STEP && (await this.#records.hasCopiedData(owner))) throw dataIsGone(runId);
    return { attempts: await this.#records.attempts(runId, from) };
  }

  async #goOn(runId: string, { lastStep }: StepRange): Promise<void> {
    await this.#update(
      (handle, { resumeUpdate, resumeUntilUpdate }) =>
        lastStep === undefined
          ? handle.executeUpdate(resumeUpdate)
          : handle.executeUpdate(resumeUntilUpdate, { args: [lastStep] }),
      runId,
    ).catch(refusedAsActive(runId));
  }

  async #update(
    send: (
      handle: WorkflowHandle<typeof softWorkflow>,
      updates: Awaited<ReturnType<typeof messages>>,
    ) => Promise<RunStatus>,
    runId: string,
  ): Promise<RunStatus> {
    try {
      const told = await send(this.#handle(runId), await messages());
      return joined(await this.#records.status(runId), told);
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

  #fromStore(runId: string, status: RunStatus): RunLook {
    const open = ['running', 'paused', 'stopping'].includes(status.phase);
    if (!open) return { status, progress: [] };
    const notice = this.#client
      ? `The server does not know this run any more. \`softflow resume ${runId}\` takes it up where it was.`
      : 'No Temporal server is running; this is where the run stood last.';
    return { status, progress: [], notice };
  }

  #handle(runId: string): WorkflowHandle<typeof softWorkflow> {
    return this.#requireClient().workflow.getHandle<typeof softWorkflow>(runId);
  }

  #requireClient(): Client {
    if (this.#client) return this.#client;
    throw new SoftflowError('TEMPORAL_UNREACHABLE', 'This needs a Temporal server, and none is connected.');
  }
}
