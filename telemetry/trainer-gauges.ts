import { Gauge, type Registry } from 'prom-client';
import type { Progress, StepInput } from '../activities/contracts.ts';

/** The trainer of a worker at one moment. */
export interface TrainerView {
  /** What it is doing; undefined when it does nothing. */
  job(): JobView | undefined;
  /** Undefined while no trainer is there. */
  residentBytes(): number | undefined;
}

export interface JobView {
  input: StepInput<unknown>;
  progress: Progress | undefined;
  /** Since the trainer last showed a sign of life. */
  silentSeconds: number;
  /** Since the job's last checkpoint, or since it was begun. */
  unsavedSeconds: number;
}

/** Name, help, and the value of a job; undefined: no series. */
type JobGauge = [name: string, help: string, value: (job: JobView) => number | undefined];

const JOB_GAUGES: readonly JobGauge[] = [
  ['softflow_job_progress_ratio', 'Share of the step at work that is done.', ({ progress }) => shareOf(progress)],
  ['softflow_job_units_per_second', 'Samples or rows a second in this attempt.', ({ progress }) => progress?.rate],
  ['softflow_job_remaining_seconds', 'Expected time to the end of the step.', ({ progress }) => progress?.secondsLeft],
  ['softflow_trainer_silence_seconds', 'Time since the trainer showed a sign of life.', (job) => job.silentSeconds],
  [
    'softflow_trainer_stall_timeout_seconds',
    'Silence after which the trainer is killed.',
    ({ input }) => input.circumstances.stallTimeoutSeconds,
  ],
];

/** Only of training, where there are checkpoints. */
const TRAINING_GAUGES: readonly JobGauge[] = [
  ['softflow_train_loss', 'Mean loss of the epoch at work so far.', ({ progress }) => progress?.loss],
  [
    'softflow_train_lambda_ratio',
    'Weight of the distilled targets in the epoch at work.',
    ({ input }) => (input.params as { lambda: number }).lambda,
  ],
  ['softflow_train_tokens_per_second', 'Tokens a second in this attempt.', ({ progress }) => progress?.tokensPerSecond],
  [
    'softflow_train_mfu_ratio',
    "Useful work as a share of the machine's rate of matrix products.",
    ({ progress }) => progress?.mfu,
  ],
  ['softflow_checkpoint_age_seconds', 'Work that a crash now would lose.', (job) => job.unsavedSeconds],
  [
    'softflow_checkpoint_interval_seconds',
    'How often a checkpoint is due.',
    ({ input }) => input.circumstances.checkpointEverySeconds,
  ],
];

/** Adds gauges that read the trainer when they are scraped, so that a job that has ended leaves no series behind. */
export function addTrainerGauges(registry: Registry, trainer: TrainerView): void {
  for (const gauge of JOB_GAUGES) addJobGauge(registry, trainer, gauge, () => true);
  for (const gauge of TRAINING_GAUGES)
    addJobGauge(registry, trainer, gauge, ({ input }) => input.step === 'trainEpoch');
  new Gauge({
    name: 'softflow_trainer_resident_memory_bytes',
    help: 'Resident memory of the trainer process.',
    registers: [registry],
    collect() {
      this.set(trainer.residentBytes() ?? 0);
    },
  });
}

function addJobGauge(
  registry: Registry,
  trainer: TrainerView,
  [name, help, value]: JobGauge,
  fits: (job: JobView) => boolean,
): void {
  new Gauge({
    name,
    help,
    labelNames: ['run', 'step', 'stage'],
    registers: [registry],
    collect() {
      this.reset();
      const job = trainer.job();
      const found = job && fits(job) ? value(job) : undefined;
      if (job && found !== undefined && Number.isFinite(found)) this.set(labelsOf(job.input), found);
    },
  });
}

function labelsOf({ circumstances, step, params }: StepInput<unknown>) {
  const { stage } = params as { stage?: string };
  return { run: circumstances.runId, step, stage: stage ?? '' };
}

function shareOf(progress: Progress | undefined): number | undefined {
  return progress && progress.total > 0 ? progress.done / progress.total : undefined;
}
