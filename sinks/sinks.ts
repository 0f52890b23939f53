import type { StartRecord } from '../activities/run-records.ts';
import type { Store } from '../artifacts/store.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import type { RunStatus } from '../workflows/run-state.ts';
import { hasEnded } from '../workflows/run-state.ts';
import { mlflowSink } from './mlflow.ts';
import { openLineageSink } from './openlineage.ts';
import type { RecordedRun, Sink } from './sink.ts';
import { tensorBoardSink } from './tensorboard.ts';

/** A sink that does not answer is waited for so long, */
const REPORT_MS = 10_000;
/** and is then left alone for so long, but for the end of a run. */
const REST_MS = 60_000;

export interface SinksOptions {
  store: Store;
  env: NodeJS.ProcessEnv;
  /** Told of what went wrong, which never reaches the run. */
  failed(sink: string, error: Error): void;
}

/** The sinks that the environment of this worker names; see docs/operating.md. */
export function configuredSinks(env: NodeJS.ProcessEnv): Sink[] {
  return [mlflowSink(env), tensorBoardSink(env), openLineageSink(env)].filter((sink) => sink !== undefined);
}

/** Tells sinks of runs. What they cannot be told now, the next record brings. */
export class Sinks {
  readonly #options: SinksOptions;
  readonly #sinks: readonly Sink[];
  readonly #resting = new Map<Sink, number>();
  /** By run, the last report that is under way or waits for one. */
  readonly #reports = new Map<string, Promise<void>>();

  constructor(options: SinksOptions, sinks: readonly Sink[] = configuredSinks(options.env)) {
    this.#options = options;
    this.#sinks = sinks;
  }

  /**
   * A run was recorded. It goes on while sinks are told; only its end waits until they are, since no later record would
   * bring what they have not heard when this process dies.
   */
  async recorded(runId: string, status: unknown): Promise<void> {
    if (this.#sinks.length === 0) return;
    const before = this.#reports.get(runId) ?? Promise.resolve();
    const told = before.then(() => this.report(runId));
    this.#reports.set(runId, told);
    void told.then(() => {
      if (this.#reports.get(runId) === told) this.#reports.delete(runId);
    });
    if (hasEnded(status as RunStatus)) await told;
  }

  /** Passes a run's records on; never rejects. */
  async report(runId: string): Promise<void> {
    try {
      const run = await readRun(this.#options.store, runId);
      if (run) await Promise.all(this.#sinks.map((sink) => this.#tell(sink, run)));
    } catch (error) {
      for (const { name } of this.#sinks) this.#options.failed(name, error as Error);
    }
  }

  async #tell(sink: Sink, run: RecordedRun): Promise<void> {
    if (Date.now() < (this.#resting.get(sink) ?? 0) && !hasEnded(run.status)) return;
    const { store, failed } = this.#options;
    const kind = `sink-${sink.name}`;
    try {
      const before = await store.readRunRecord(run.runId, kind);
      const signal = AbortSignal.timeout(REPORT_MS);
      const cursor = await Promise.race([sink.report(run, before?.value, signal), aborted(signal)]);
      if (JSON.stringify(cursor) !== JSON.stringify(before?.value)) await store.putRunRecord(run.runId, kind, cursor);
      this.#resting.delete(sink);
    } catch (error) {
      this.#resting.set(sink, Date.now() + REST_MS);
      failed(sink.name, error as Error);
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error(`no answer within ${REPORT_MS / 1000} s`)), { once: true });
  });
}

async function readRun(store: Store, runId: string): Promise<RecordedRun | undefined> {
  const [config, start, status] = await Promise.all(
    ['config', 'start', 'status'].map(async (kind) => (await store.readRunRecord(runId, kind))?.value),
  );
  if (!config || !start || !status) return undefined;
  const { steps } = status as RunStatus;
  const manifest = async (stepId: string) => {
    const { key, state } = steps.find(({ id }) => id === stepId) ?? {};
    return key && (state === 'run' || state === 'reused') ? store.readManifest(key) : undefined;
  };
  return {
    runId,
    config: config as RunConfig,
    start: start as StartRecord,
    status: status as RunStatus,
    manifest,
    async file(name) {
      const outputs = { ...(await manifest('release'))?.outputs, ...(await manifest('report'))?.outputs };
      const ref = outputs[name];
      return ref && Buffer.from(await store.getBytes(ref)).toString('utf8');
    },
  };
}
