import { activityInfo, Context, heartbeat } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { inputDigests } from '../artifacts/step-key.ts';
import type { Store } from '../artifacts/store.ts';
import type { Progress, StepInput, StepResult, TensorParams } from './contracts.ts';
import { heartbeating } from './cpu-step.ts';
import { faultToFailure, toFailure } from './failures.ts';
import type { Places } from './resolve-sources.ts';
import { requireSameContract } from './same-contract.ts';
import { parseStepInput } from './step-input.ts';
import { findStep, forWorkflow } from './step-result.ts';
import { stopped } from './stopped.ts';
import type { UseDevice } from './tensor-worker.ts';
import type { JobOutcome, Trainer, TrainerDeath, TrainerJob } from './trainer.ts';
import { leaveToOthers, thisAttempt } from './turns.ts';

/** So many deaths of the trainer with the same unit of work in progress end the step. */
const MAX_DEATHS_AT_A_POSITION = 3;

export interface RelayDeps {
  store: Store;
  trainer: Trainer;
  modelFiles: Places['modelFiles'];
  /** Identity of the worker, noted with each attempt. */
  worker: string;
}

/**
 * The half of a tensor step that runs in the Temporal worker: hands the job to the trainer process, passes progress on
 * as heartbeats, and turns its end into the activity's. Imports no tensor code.
 *
 * @param use the worker's device
 */
export async function relay(
  deps: RelayDeps,
  raw: StepInput<unknown>,
  use: UseDevice,
): Promise<StepResult<unknown> | null> {
  try {
    const input = parseStepInput(raw);
    await leaveToOthers(deps.store, input);
    const found = await findStep(deps.store, input.key);
    if (found) return forWorkflow(found);
    requireSameContract(input, activityInfo().attempt);
    const { outcome, progress } = await use(() => compute(deps, input));
    return await conclude(deps.store, input, outcome, progress);
  } catch (error) {
    throw toFailure(error);
  }
}

/** The job on the trainer, from the note that it begins to its end. */
async function compute(deps: RelayDeps, input: StepInput<unknown>) {
  await noteAttempt(deps, input);
  // Two may have come at once: the second now sees the first one's note.
  await leaveToOthers(deps.store, input);
  const { source } = (input.params as TensorParams).model;
  const job = deps.trainer.submit(input, await heartbeating(() => deps.modelFiles(source)));
  const outcome = await watch(job, input.circumstances.stallTimeoutSeconds * 1000);
  return { outcome, progress: job.progress() };
}

/**
 * What a step is begun with, so that its tiles and checkpoints can be found when a person is to be forgotten, and who began
 * it, so that it is seen when it moves to another worker and when another run is at work on it.
 */
async function noteAttempt({ store, worker }: RelayDeps, { key, inputs, circumstances }: StepInput<unknown>) {
  const { runId } = circumstances;
  const attempt = thisAttempt();
  const note = { runId, seconds: 0, resumes: 0, inputs: inputDigests(inputs), worker };
  await store.addTelemetry(key, { ...note, ...(attempt ? { attempt } : {}) });
}

/** Waits for the job's end. As long as the trainer moves, so does the heartbeat; on cancellation it is drained. */
async function watch(job: TrainerJob, stallTimeoutMs: number): Promise<JobOutcome> {
  const beat = () => {
    if (job.silentMs() > stallTimeoutMs) job.kill();
    else heartbeat(job.progress() ?? null);
  };
  const timer = setInterval(beat, (activityInfo().heartbeatTimeoutMs ?? 20_000) / 4);
  void Context.current().cancelled.catch(() => job.drain());
  try {
    const outcome = await job.outcome;
    // Where it came to, for those who look at what is tried again.
    if (outcome.kind !== 'done') heartbeat(job.progress() ?? null);
    return outcome;
  } finally {
    clearInterval(timer);
  }
}

async function conclude(
  store: Store,
  input: StepInput<unknown>,
  outcome: JobOutcome,
  progress: Progress | undefined,
): Promise<StepResult<unknown> | null> {
  switch (outcome.kind) {
    case 'done':
      if (!outcome.result) return null;
      await store.addTelemetry(input.key, { runId: input.circumstances.runId, ...outcome.result.telemetry });
      return forWorkflow(outcome.result);
    case 'drained':
      throw stopped(outcome.position);
    case 'failed':
      throw faultToFailure(outcome.fault);
    case 'died':
      throw await afterDeath(store, input, outcome.death, progress);
  }
}

/** Counts the death in the store, so that a step that kills its trainer every time ends instead of trying for ever. */
async function afterDeath(
  store: Store,
  { key, step }: StepInput<unknown>,
  death: TrainerDeath,
  progress: Progress | undefined,
): Promise<Error> {
  const position = progress?.position ?? 'start';
  const execution = activityInfo().workflowExecution?.runId ?? '';
  const place = deathPosition(position);
  await store.countDeath(key, place, { execution, position, ...death });
  const deaths = (await store.deathsAt(key, place)).filter((details) => isOf(details, execution)).length;
  const how = describeDeath(death);
  const details = { key, step, position, deaths, ...death };
  if (deaths < MAX_DEATHS_AT_A_POSITION)
    return ApplicationFailure.create({
      type: 'TRAINER_DIED',
      message: `The trainer died at ${step}, ${position} (${how}); trying again.`,
      nonRetryable: false,
      details: [details],
      // Pauses need not grow: deaths that bring nothing forward are counted.
      nextRetryDelay: '1 s',
    });
  return ApplicationFailure.nonRetryable(
    `The trainer died ${deaths} times at ${step}, ${position} (${how}). Give it more memory or a smaller ` +
      'train.microBatchSize or generation.tileRows, look into its log, then resume the run.',
    'NO_PROGRESS',
    details,
  );
}

function isOf(details: unknown, execution: string): boolean {
  return (details as { execution?: string } | null)?.execution === execution;
}

/** The numbers in a position, which is how the store names it: "epoch 2, step 3/16" is 2.3.16. */
function deathPosition(position: string): number[] {
  const numbers = (position.match(/\d+/g) ?? []).map(Number).slice(0, 8);
  return numbers.length > 0 ? numbers : [0];
}

function describeDeath({ signal, exitCode, stalled, rssBytes }: TrainerDeath): string {
  const memory = rssBytes === null ? '' : `, ${(rssBytes / 1e9).toFixed(1)} GB of memory`;
  if (stalled) return `stalled${memory}`;
  return `${signal ? `signal ${signal}` : `exit code ${exitCode}`}${memory}`;
}
