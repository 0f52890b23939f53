import { statfs } from 'node:fs/promises';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { TrainerDeath } from '../activities/trainer.ts';
import { RunMetrics } from './run-metrics.ts';
import { addTrainerGauges, type TrainerView } from './trainer-gauges.ts';

export interface WorkerMetricsOptions {
  version: string;
  /** Folder of the artifact store. */
  storeRoot: string;
  /** Bytes that processes of this machine or container may use. */
  memoryLimitBytes: number;
}

/** How an attempt of a step ended: `found` is one that another worker had done meanwhile. */
export type AttemptOutcome = 'done' | 'found' | 'stopped' | 'failed';

/** Steps take from a blink to days. */
const STEP_SECONDS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400];
/** Errors that say that disk or store are not as they should be. */
const STORE_CODES = ['STORE_FULL', 'STORE_DENIED', 'STORE_IO', 'STORE_DAMAGED', 'STORE_MISSING', 'DETERMINISM_BROKEN'];
const SAVE_SECONDS = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60];

/**
 * What one worker tells Prometheus besides the SDK's own metrics. What stands for the present is read when it is asked
 * for, and the series of a run go with the run: their number stays bounded however long the worker lives.
 */
export class WorkerMetrics {
  readonly registry = new Registry();
  readonly #runs = new RunMetrics(this.registry);
  readonly #attempts = this.#counter('softflow_step_attempts_total', 'Ended attempts of steps.', ['step', 'outcome']);
  readonly #seconds = this.#histogram('softflow_step_duration_seconds', 'Length of attempts of steps.', STEP_SECONDS);
  readonly #waits = this.#histogram(
    'softflow_step_queue_wait_seconds',
    'Time that an attempt of a step waited for a free worker.',
    STEP_SECONDS,
  );
  readonly #failures = this.#counter(
    'softflow_activity_failures_total',
    'Failed attempts of activities, by error code.',
    ['activity', 'code'],
  );
  readonly #storeErrors = this.#counter('softflow_store_errors_total', 'Errors of the artifact store.', ['code']);
  readonly #deaths = this.#counter('softflow_trainer_deaths_total', 'Trainers that died and were started again.', [
    'cause',
  ]);
  readonly #saves = this.#histogram(
    'softflow_checkpoint_duration_seconds',
    'Time to save a checkpoint.',
    SAVE_SECONDS,
    [],
  );
  readonly #saved = this.#counter('softflow_checkpoint_bytes_total', 'Bytes of saved checkpoints.', []);
  readonly #sinkErrors = this.#counter('softflow_sink_errors_total', 'Reports to a sink that failed.', ['sink']);

  constructor({ version, storeRoot, memoryLimitBytes }: WorkerMetricsOptions) {
    const registers = [this.registry];
    this.#beginAtZero();
    collectDefaultMetrics({ register: this.registry });
    new Gauge({ name: 'softflow_build_info', help: 'Always 1.', labelNames: ['version'], registers }).set(
      { version },
      1,
    );
    new Gauge({
      name: 'softflow_memory_limit_bytes',
      help: 'Memory that the worker and its trainer may use.',
      registers,
    }).set(memoryLimitBytes);
    new Gauge({
      name: 'softflow_store_free_bytes',
      help: 'Free space on the file system of the store.',
      registers,
      async collect() {
        const found = await statfs(storeRoot).catch(() => undefined);
        if (found) this.set(found.bavail * found.bsize);
        else this.reset();
      },
    });
  }

  /** Series that are there from the start: a first event is an increase only for a counter that was 0 before. */
  #beginAtZero(): void {
    for (const code of STORE_CODES) this.#storeErrors.inc({ code }, 0);
    for (const cause of ['signal', 'exit', 'stalled']) this.#deaths.inc({ cause }, 0);
  }

  /** Adds what the trainer of this worker is doing. */
  watchTrainer(trainer: TrainerView): void {
    addTrainerGauges(this.registry, trainer);
  }

  attemptBegins(step: string, waitedSeconds: number): void {
    this.#waits.observe({ step }, Math.max(0, waitedSeconds));
  }

  attemptEnds(step: string, outcome: AttemptOutcome, seconds: number): void {
    this.#attempts.inc({ step, outcome });
    this.#seconds.observe({ step }, seconds);
  }

  activityFailed(activity: string, code: string): void {
    this.#failures.inc({ activity, code });
    if (STORE_CODES.includes(code)) this.#storeErrors.inc({ code });
  }

  trainerDied({ signal, stalled }: Pick<TrainerDeath, 'signal' | 'stalled'>): void {
    this.#deaths.inc({ cause: stalled ? 'stalled' : signal ? 'signal' : 'exit' });
  }

  checkpointSaved(seconds: number, bytes: number): void {
    this.#saves.observe(seconds);
    this.#saved.inc(bytes);
  }

  runRecorded(runId: string, status: unknown): void {
    this.#runs.recorded(runId, status);
  }

  sinkFailed(sink: string): void {
    this.#sinkErrors.inc({ sink });
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[], labelNames = ['step']): Histogram {
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] });
  }
}
