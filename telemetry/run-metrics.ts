import { Counter, Gauge, type Registry } from 'prom-client';
import { ENDED_PHASES, hasEnded, type RunStatus } from '../workflows/run-state.ts';

/** The last figures of an ended run stay long enough to be scraped a few times. */
const KEPT_AFTER_END_MS = 15 * 60_000;
/** A run whose next record went to another worker would otherwise stay for ever. */
const KEPT_MS = 7 * 24 * 3_600_000;
const MAX_RUNS = 200;

/** What is shown of a record. Not the record itself: that of a long run is large, and there are many runs. */
interface Recorded {
  atMs: number;
  ended: boolean;
  epochs: number;
  loss: number | undefined;
  lambda: number | undefined;
  distance: number | undefined;
  hitRate: number | undefined;
}

/**
 * The figures that a run writes into its record, as this worker last wrote them. Any worker may write the next record:
 * of several, the newest by `softflow_run_record_timestamp_seconds` counts.
 */
export class RunMetrics {
  readonly #recorded = new Map<string, Recorded>();
  readonly #ended: Counter<'phase'>;
  readonly #steps: Counter<'step' | 'state'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#ended = new Counter({
      name: 'softflow_runs_ended_total',
      help: 'Ended runs.',
      labelNames: ['phase'],
      registers,
    });
    this.#steps = new Counter({
      name: 'softflow_run_steps_total',
      help: 'Steps of ended runs, computed (run) or found done (reused).',
      labelNames: ['step', 'state'],
      registers,
    });
    for (const phase of ENDED_PHASES) this.#ended.inc({ phase }, 0);
    const gauge = (name: string, help: string, value: (recorded: Recorded) => number | undefined) =>
      this.#gauge(registry, name, help, value);
    gauge('softflow_run_record_timestamp_seconds', 'When the run was last recorded.', ({ atMs }) => atMs / 1000);
    gauge('softflow_run_epochs', 'Whole epochs of SFT and curriculum.', ({ epochs }) => epochs);
    gauge('softflow_run_loss', 'Train loss of the last whole epoch.', ({ loss }) => loss);
    gauge('softflow_run_lambda_ratio', 'Lambda of the last whole epoch.', ({ lambda }) => lambda);
    gauge('softflow_run_distance', 'Last distance of the curriculum.', ({ distance }) => distance);
    gauge(
      'softflow_run_validation_hit_rate_ratio',
      'Validation hit rate at the largest K of 10 or below.',
      (run) => run.hitRate,
    );
  }

  recorded(runId: string, told: unknown): void {
    const status = told as RunStatus;
    this.#recorded.delete(runId);
    this.#recorded.set(runId, figuresOf(status));
    if (this.#recorded.size > MAX_RUNS) this.#recorded.delete(this.#recorded.keys().next().value as string);
    if (!hasEnded(status)) return;
    this.#ended.inc({ phase: status.phase });
    for (const { step, state } of status.steps)
      if (state === 'run' || state === 'reused') this.#steps.inc({ step, state });
  }

  #gauge(registry: Registry, name: string, help: string, value: (recorded: Recorded) => number | undefined): void {
    const shown = () => this.#shown();
    new Gauge({
      name,
      help,
      labelNames: ['run'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [run, recorded] of shown()) {
          const found = value(recorded);
          if (found !== undefined) this.set({ run }, found);
        }
      },
    });
  }

  #shown(): Map<string, Recorded> {
    for (const [run, { ended, atMs }] of this.#recorded)
      if (Date.now() - atMs > (ended ? KEPT_AFTER_END_MS : KEPT_MS)) this.#recorded.delete(run);
    return this.#recorded;
  }
}

function figuresOf(status: RunStatus): Recorded {
  const { sft, curriculum, latest } = status;
  return {
    atMs: Date.now(),
    ended: hasEnded(status),
    epochs: sft.length + curriculum.length,
    loss: latest.loss,
    lambda: latest.lambda,
    distance: latest.distance,
    hitRate: hitRate(latest),
  };
}

function hitRate({ validation }: RunStatus['latest']): number | undefined {
  const rates = Object.entries(validation?.hr ?? {}).map(([k, value]) => [Number(k), value] as const);
  return rates.filter(([k]) => k <= 10).sort(([a], [b]) => b - a)[0]?.[1];
}
