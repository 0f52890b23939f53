import {
  type Client,
  ScheduleAlreadyRunning,
  type ScheduleDescription,
  type ScheduleHandle,
  ScheduleNotFoundError,
  type ScheduleSpec,
  ServiceError,
} from '@temporalio/client';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { priorityOf } from '../workflows/priority.ts';
import type { RetrainInput } from '../workflows/retrain-state.ts';
import type { retrainWorkflow } from '../workflows/retrain-workflow.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { SweepPlan } from '../workflows/sweep-state.ts';
import { DEFAULT_TASK_QUEUE } from '../workflows/task-queues.ts';
import {
  compileChange,
  compilePolicies,
  compileSpec,
  invalid,
  type Overlap,
  requireInstant,
  requireScheduleName,
  requireSplitByTime,
  type SchedulePolicies,
  type ScheduleTimes,
  toTemporal,
} from './schedule-spec.ts';
import { type ScheduleSummary, type ScheduleView, summaryOf, viewOf } from './schedule-view.ts';
import { scheduledRun } from './scheduled-runs.ts';
import { searchAttributes } from './search-attributes.ts';

export interface SchedulesOptions {
  client: Client;
  /** Remembers what became of runs that have left the server. */
  store: Store;
  /** Base name of the task queues. */
  taskQueue?: string;
  /** For tests: how soon a silent worker counts as lost. */
  heartbeatTimeoutSeconds?: number;
}

export interface ScheduleInput extends ScheduleTimes, SchedulePolicies {
  config: RunConfig;
  /** The recipe's path as the person named it. */
  recipe?: string;
  /** Retrains with the best run of a sweep instead of one run. */
  sweep?: SweepPlan;
}

/** What is left out stays as it is. */
export type ScheduleChange = Partial<Omit<ScheduleInput, 'sweep'>> & {
  /** Null: one run again. */
  sweep?: SweepPlan | null;
};

const WORKFLOW = 'retrainWorkflow';

/** Every call about schedules. They are Temporal Schedules that start `retrainWorkflow`; nothing of them lies elsewhere. */
export class Schedules {
  readonly #client: Client;
  readonly #store: Store;
  readonly #taskQueue: string;
  readonly #heartbeatTimeoutSeconds: number | undefined;

  constructor({ client, store, taskQueue = DEFAULT_TASK_QUEUE, heartbeatTimeoutSeconds }: SchedulesOptions) {
    this.#client = client;
    this.#store = store;
    this.#taskQueue = taskQueue;
    this.#heartbeatTimeoutSeconds = heartbeatTimeoutSeconds;
  }

  /** @throws SoftflowError `SCHEDULE_INVALID`, `SCHEDULE_EXISTS` */
  async create(name: string, { config, recipe, sweep, ...input }: ScheduleInput): Promise<void> {
    const options = {
      scheduleId: requireScheduleName(name),
      spec: compileSpec(input),
      policies: compilePolicies(input),
      action: await this.#action(name, { config, recipe, sweep }),
    };
    await this.#asking(name, () => this.#client.schedule.create<typeof retrainWorkflow>(options));
  }

  /** Of this namespace, by name. */
  async list(): Promise<ScheduleSummary[]> {
    const found: ScheduleSummary[] = [];
    for await (const schedule of this.#client.schedule.list())
      if (schedule.action?.workflowType === WORKFLOW) found.push(summaryOf(schedule));
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Its settings, its next times, and what became of its last runs. @throws SoftflowError `SCHEDULE_NOT_FOUND` */
  async describe(name: string): Promise<ScheduleView> {
    const description = await this.#description(name);
    const { recentActions } = description.info;
    const runs = recentActions.map((taken) => scheduledRun(this.#client, this.#store, name, taken));
    return viewOf(name, description, (await Promise.all(runs)).reverse());
  }

  /** @throws SoftflowError `SCHEDULE_NOT_FOUND`, `SCHEDULE_INVALID` */
  async update(name: string, change: ScheduleChange): Promise<void> {
    const compiled = compileChange(change);
    const action = await this.#changedAction(name, change);
    type Action = NonNullable<typeof action>;
    await this.#asking(name, () =>
      this.#handle(name).update<typeof retrainWorkflow>((previous) => ({
        spec: compiled.spec(previous.spec as ScheduleSpec),
        policies: { ...previous.policies, ...compiled.policies },
        state: previous.state,
        action: action ?? (previous.action as Action),
      })),
    );
  }

  /** Starts nothing more until `unpause`; what is at work goes on. @throws SoftflowError `SCHEDULE_NOT_FOUND` */
  async pause(name: string, note?: string): Promise<void> {
    await this.#asking(name, () => this.#handle(name).pause(note ?? 'paused by hand'));
  }

  /** @throws SoftflowError `SCHEDULE_NOT_FOUND` */
  async unpause(name: string, note?: string): Promise<void> {
    await this.#asking(name, () => this.#handle(name).unpause(note ?? 'unpaused by hand'));
  }

  /**
   * One start now, whose cut-off is now, under the schedule's own overlap policy unless another is given.
   *
   * @throws SoftflowError `SCHEDULE_NOT_FOUND`
   */
  async trigger(name: string, overlap?: Overlap): Promise<void> {
    // Left out, the SDK would allow all: a retrain that the schedule neither waits for nor pauses after.
    const policy = overlap ? toTemporal(overlap) : (await this.#description(name)).policies.overlap;
    await this.#asking(name, () => this.#handle(name).trigger(policy));
  }

  /**
   * Every start that the schedule would have made from `from` to `to`, one after another, each with the data of its day.
   *
   * @throws SoftflowError `SCHEDULE_NOT_FOUND`, `SCHEDULE_INVALID`
   */
  async backfill(name: string, from: string, to: string, overlap: Overlap = 'buffer-all'): Promise<void> {
    const [start, end] = [requireInstant('--from', from), requireInstant('--to', to)];
    if (start > end) throw invalid(`expected --from at or before --to, got ${from} and ${to}`);
    await this.#asking(name, () => this.#handle(name).backfill({ start, end, overlap: toTemporal(overlap) }));
  }

  /** What is at work goes on. @throws SoftflowError `SCHEDULE_NOT_FOUND` */
  async delete(name: string): Promise<void> {
    await this.#asking(name, () => this.#handle(name).delete());
  }

  #handle(name: string): ScheduleHandle {
    return this.#client.schedule.getHandle(requireScheduleName(name));
  }

  #description(name: string): Promise<ScheduleDescription> {
    return this.#asking(name, () => this.#handle(name).describe());
  }

  /** What it starts, with what of it stays; undefined when nothing of it changes. */
  async #changedAction(name: string, change: ScheduleChange) {
    if (change.config === undefined && change.sweep === undefined) return undefined;
    const [input] = ((await this.#description(name)).action.args ?? []) as [RetrainInput];
    const { config = input.config as RunConfig, recipe = input.recipe, sweep = input.sweep } = change;
    return this.#action(name, { config, recipe, sweep: sweep ?? undefined });
  }

  async #action(
    name: string,
    retrain: { config: RunConfig; recipe: string | undefined; sweep: SweepPlan | undefined },
  ) {
    const heartbeatTimeoutSeconds = this.#heartbeatTimeoutSeconds;
    const { config, recipe, sweep } = retrain;
    requireSplitByTime(config);
    const input: RetrainInput = {
      config,
      schedule: name,
      ...(recipe === undefined ? {} : { recipe }),
      ...(sweep === undefined ? {} : { sweep }),
      ...(heartbeatTimeoutSeconds === undefined ? {} : { heartbeatTimeoutSeconds }),
    };
    return {
      type: 'startWorkflow' as const,
      workflowType: WORKFLOW,
      workflowId: name,
      taskQueue: this.#taskQueue,
      staticSummary: `retrain ${name}`,
      ...(await searchAttributes(this.#client, config)),
      priority: priorityOf('scheduled', config.name),
      args: [input] as [RetrainInput],
    };
  }

  async #asking<T>(name: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof ScheduleAlreadyRunning)
        throw new SoftflowError(
          'SCHEDULE_EXISTS',
          `There is a schedule "${name}" already. \`softflow schedule update ${name}\` changes it.`,
        );
      if (error instanceof ScheduleNotFoundError) throw await this.#notFound(name);
      // What the server says of a new schedule's times comes as a TypeError.
      if (error instanceof TypeError) throw invalid(`the server refuses it: ${error.message}`, error);
      // 3 is gRPC's INVALID_ARGUMENT: the server says which field it does not take.
      if (error instanceof ServiceError && (error.cause as { code?: number } | undefined)?.code === 3)
        throw invalid(
          `the server refuses it: ${(error.cause as { details?: string }).details ?? error.message}`,
          error,
        );
      throw error;
    }
  }

  async #notFound(name: string): Promise<SoftflowError> {
    const names = (await this.list()).map((schedule) => schedule.name);
    const known = names.length > 0 ? `There are ${names.slice(0, 10).join(', ')}.` : 'There are none.';
    return new SoftflowError('SCHEDULE_NOT_FOUND', `No schedule "${name}" on this server. ${known}`, {
      details: { name },
    });
  }
}
