import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Precision } from '../activities/contracts.ts';
import { openStore, type Store } from '../artifacts/store.ts';
import { loadConfigFile } from '../cli/config-file.ts';
import { connect } from '../client/connect.ts';
import { Runs } from '../client/runs.ts';
import type { StepTelemetry } from '../report/summary-types.ts';
import { packageRoot } from '../setup/paths.ts';
import { ensureEmbedded, stopEmbedded } from '../workers/embedded.ts';
import { MOMENTS_FILE, type Moment } from './timed-jobs.ts';

export interface Durability {
  precision: Precision;
  checkpointEverySeconds: number;
  /** Of each epoch: from its being scheduled by the workflow to its end in the history, and in passes and optimiser. */
  epochs: { seconds: number; computeSeconds: number; overhead: number }[];
  /** After a trainer was killed: from its successor's start, and from the kill, to the end of a new micro-batch. */
  recovery: { fromRestart: number; fromKill: number; lostSeconds: number };
}

const EPOCHS = 2;
/** The kill comes so long after the first checkpoint. */
const AFTER_CHECKPOINT_SECONDS = 10;

/**
 * What durability costs: a run of SFT on the real server, worker and trainer; then another one whose trainer is killed.
 * @param windows training windows of an epoch
 */
export async function measureDurability(
  precision: Precision,
  windows: number,
  say: (line: string) => void,
): Promise<Durability> {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-durability-'));
  const stateFolder = join(folder, 'state');
  process.env[MOMENTS_FILE] = join(folder, 'moments.jsonl');
  const jobsModule = new URL('./timed-jobs.js', import.meta.url).href;
  const { target } = await ensureEmbedded({ stateFolder, jobsModule });
  const client = await connect(target);
  try {
    const store = await openStore(join(stateFolder, 'store'), { create: true });
    const bench = new DurabilityBench(client, store, precision, windows);
    const epochs = await bench.epochs();
    for (const { seconds, computeSeconds, overhead } of epochs)
      say(
        `epoch of ${seconds.toFixed(1)} s: ${computeSeconds.toFixed(1)} s of it in passes, ${percent(overhead)} else`,
      );
    const recovery = await bench.recovery();
    say(
      `killed trainer: first new micro-batch ${recovery.fromRestart.toFixed(1)} s after its restart, ` +
        `${recovery.fromKill.toFixed(1)} s after the kill; ${recovery.lostSeconds.toFixed(1)} s of training lost`,
    );
    return { precision, checkpointEverySeconds: bench.checkpointEverySeconds, epochs, recovery };
  } finally {
    await client.connection.close();
    await stopEmbedded(stateFolder);
    await rm(folder, { recursive: true, force: true });
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

class DurabilityBench {
  readonly #client: Client;
  readonly #store: Store;
  readonly #runs: Runs;
  readonly #overrides: string[];
  checkpointEverySeconds = 0;

  constructor(client: Client, store: Store, precision: Precision, windows: number) {
    this.#client = client;
    this.#store = store;
    this.#runs = new Runs({ client, store });
    this.#overrides = [
      `model.precision=${precision}`,
      `data.samples={train: ${windows}, valid: 8, test: 8}`,
      `train.maxEpochs=${EPOCHS}`,
    ];
  }

  async epochs(): Promise<Durability['epochs']> {
    const runId = await this.#start(1);
    const { steps } = await this.#runs.result(runId);
    const epochs: Durability['epochs'] = [];
    for (const { id, key } of steps) {
      if (key === undefined || !/^sft-\d+-train$/.test(id)) continue;
      const entries = (await this.#store.readTelemetry(key)) as StepTelemetry[];
      const computeSeconds = entries.at(-1)?.computeSeconds ?? Number.NaN;
      const seconds = await this.#secondsOf(runId, key);
      epochs.push({ seconds, computeSeconds, overhead: 1 - computeSeconds / seconds });
    }
    return epochs;
  }

  async recovery(): Promise<Durability['recovery']> {
    const runId = await this.#start(2);
    const training = await this.#until((moments) => {
      const first = moments.find(({ step }) => step === 'trainEpoch');
      const last = moments.at(-1);
      const wanted = (this.checkpointEverySeconds + AFTER_CHECKPOINT_SECONDS) * 1000;
      return first && last && last.step === 'trainEpoch' && last.at - first.at > wanted ? last : undefined;
    });
    process.kill(training.pid, 'SIGKILL');
    const killed = Date.now();
    // The first of its lines comes before a micro-batch, the second after it.
    const [first, second] = await this.#until((moments) => {
      const since = moments.filter(({ pid, step }) => pid !== training.pid && step === 'trainEpoch');
      return since.length > 1 ? (since as [Moment, Moment]) : undefined;
    }, killed);
    await this.#runs.stop(runId, 'now');
    const checkpoint = this.#moments().findLast(
      ({ pid, done, at }) => pid === training.pid && at < killed && done <= first.done,
    );
    return {
      fromRestart: (second.at - second.started) / 1000,
      fromKill: (second.at - killed) / 1000,
      lostSeconds: (killed - (checkpoint?.at ?? Number.NaN)) / 1000,
    };
  }

  async #start(seed: number): Promise<string> {
    const recipe = join(packageRoot(), 'recipes', 'demo.yaml');
    const { config } = loadConfigFile(recipe, { overrides: [...this.#overrides, `seed=${seed}`] });
    this.checkpointEverySeconds = config.checkpoint.every;
    return this.#runs.start(config, { until: 'sft' });
  }

  /** From the scheduling of a step's activity to its completion, by the server's clock. */
  async #secondsOf(runId: string, key: string): Promise<number> {
    const { events } = await this.#client.workflow.getHandle(runId).fetchHistory();
    const timeOf = (event: { eventTime?: { seconds?: unknown; nanos?: number | null } | null }) =>
      Number(event.eventTime?.seconds) + Number(event.eventTime?.nanos) / 1e9;
    const scheduled = events?.find(({ activityTaskScheduledEventAttributes: scheduled }) => {
      const payload = scheduled?.input?.payloads?.[0]?.data;
      return scheduled?.activityType?.name === 'trainEpoch' && Buffer.from(payload ?? []).includes(key);
    });
    const completed = events?.find(
      ({ activityTaskCompletedEventAttributes: completed }) =>
        completed && String(completed.scheduledEventId) === String(scheduled?.eventId),
    );
    return timeOf(completed ?? {}) - timeOf(scheduled ?? {});
  }

  /** Progress lines of all trainers, or of those after a moment. */
  #moments(since = 0): Moment[] {
    const file = process.env[MOMENTS_FILE] as string;
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
    return lines.map((line) => JSON.parse(line) as Moment).filter(({ at }) => at >= since);
  }

  async #until<T>(find: (moments: Moment[]) => T | undefined, since = Date.now()): Promise<T> {
    for (;;) {
      const found = find(this.#moments(since));
      if (found !== undefined) return found;
      await sleep(100);
    }
  }
}
