import type { StartRecord } from '../activities/run-records.ts';
import { readRunSources } from '../artifacts/run-sources.ts';
import { readRunStatus } from '../artifacts/run-status.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { NO_EPOCHS, plannedSteps } from '../workflows/run-plan.ts';
import { type Attempt, initialState, type RunStatus, toStatus } from '../workflows/run-state.ts';

const KIND = { config: 'config', start: 'start', attempts: 'attempts' } as const;

/** What the store keeps of runs beside their artifacts. */
export class RunRecords {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Before its workflow is started: what the run is and who began it. */
  async begin(runId: string, config: RunConfig, recipe: string | undefined): Promise<void> {
    const start: StartRecord = {
      createdAt: new Date().toISOString(),
      tags: config.tags,
      ...(recipe === undefined ? {} : { recipe }),
    };
    await this.#store.putRunRecord(runId, KIND.config, config);
    await this.#store.putRunRecord(runId, KIND.start, start);
  }

  /** The resolved config of a run. @throws SoftflowError `RUN_NOT_FOUND` */
  async config(runId: string): Promise<unknown> {
    const record = await this.#store.readRunRecord(runId, KIND.config);
    if (record) return record.value;
    throw await this.#notFound(runId);
  }

  /** The last status that the run wrote, or that of a run which has just begun. */
  async status(runId: string): Promise<RunStatus> {
    const status = await readRunStatus(this.#store, runId);
    if (status) return status as RunStatus;
    const config = (await this.config(runId)) as RunConfig;
    return toStatus(runId, 'running', initialState(config.soft.curriculumAlpha, plannedSteps(config, NO_EPOCHS)));
  }

  /** What of the run is computed once more; with `from` a new attempt, from that step on. */
  async attempts(runId: string, from?: string): Promise<readonly Attempt[]> {
    const known = ((await this.#store.readRunRecord(runId, KIND.attempts))?.value ?? []) as Attempt[];
    if (from === undefined) return known;
    const all = [...known, { from, name: `${runId}.${known.length + 2}` }];
    await this.#store.putRunRecord(runId, KIND.attempts, all);
    return all;
  }

  /** The sweep that a run belongs to. */
  async sweepOf(runId: string): Promise<string | undefined> {
    return (await this.#start(runId))?.sweep;
  }

  /** Whether a run, or the sweep that it belongs to, was begun with a copy of growing data. */
  async hasCopiedData(runId: string): Promise<boolean> {
    return (await readRunSources(this.#store, runId)) !== undefined;
  }

  /** Ids of all runs, newest first. */
  async list(): Promise<string[]> {
    const starts = await Promise.all(
      (await this.#store.listRuns()).map(async (runId) => ({
        runId,
        createdAt: (await this.#start(runId))?.createdAt,
      })),
    );
    // A retrain that ended before it trained has a record, and no run.
    const runs = starts.filter(({ createdAt }) => createdAt !== undefined) as { runId: string; createdAt: string }[];
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

  async #start(runId: string): Promise<StartRecord | undefined> {
    return (await this.#store.readRunRecord(runId, KIND.start))?.value as StartRecord | undefined;
  }

  async #notFound(name: string): Promise<SoftflowError> {
    const runs = await this.list();
    const known = runs.length > 0 ? `The newest are ${runs.slice(0, 5).join(', ')}.` : 'There are none yet.';
    return new SoftflowError('RUN_NOT_FOUND', `No run "${name}" in the store ${this.#store.root}. ${known}`, {
      details: { name, store: this.#store.root },
    });
  }
}
