import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
import * as z from 'zod';
import type { Sources } from '../activities/contracts.ts';
import { SoftflowError } from '../errors.ts';
import { eventsOf, openLight } from './light.ts';
import { type RunConfig, RunConfigSchema } from './run-config.ts';
import { NO_EPOCHS, plannedSteps } from './run-plan.ts';
import {
  type Attempt,
  type Border,
  initialState,
  type RunPhase,
  type RunStatus,
  type SoftState,
  toStatus,
} from './run-state.ts';
import type { softWorkflow } from './soft-workflow.ts';
import { mayGoOn, type Run, RunStopped, record } from './steps.ts';
import { HEARTBEAT_TIMEOUT_SECONDS, MAX_HISTORY_EVENTS } from './task-queues.ts';

export interface SoftWorkflowInput {
  /** A run config; parsed again here, because any client may start the workflow with anything. */
  config: unknown;
  /** What was found before the run began, by the retrain that starts it; else the run looks itself. */
  sources?: Sources;
  /** What the person named, or the schedule that started it. */
  recipe?: string;
  /** The sweep that it belongs to, where it ends for now, and whose copy of growing data it reads. */
  sweep?: string;
  until?: Border;
  sourcesOf?: string;
  /** Id of the step after which it stops. */
  lastStep?: string;
  /** Its steps that are computed once more. */
  attempts?: readonly Attempt[];
  /** Circumstances that tests shorten. */
  heartbeatTimeoutSeconds?: number;
  maxHistoryEvents?: number;
  /** Only from continue-as-new. */
  state?: SoftState;
}

/** Parses the config again as the workflow's first act. @throws ApplicationFailure `CONFIG_INVALID`, with every fault */
export function openRun(input: SoftWorkflowInput): Run {
  const config = parseConfig(input.config);
  const state = input.state ?? initialState(config.soft.curriculumAlpha, plannedSteps(config, NO_EPOCHS));
  if (input.sources) state.sources ??= input.sources;
  if (input.lastStep !== undefined) state.lastStep = { id: input.lastStep, reached: false };
  if (input.attempts) state.attempts = input.attempts;
  return {
    id: workflowInfo().workflowId,
    ...openLight(workflowInfo().taskQueue),
    heartbeatTimeoutSeconds: input.heartbeatTimeoutSeconds ?? HEARTBEAT_TIMEOUT_SECONDS,
    maxHistoryEvents: input.maxHistoryEvents ?? MAX_HISTORY_EVENTS,
    config,
    state,
    ...(input.until === undefined ? {} : { until: input.until }),
    ...(input.sourcesOf === undefined ? {} : { sourcesOf: input.sourcesOf }),
  };
}

/** Between two parts of the method: stops if asked to, and goes on with a fresh history when this one is long. */
export async function border(run: Run): Promise<void> {
  await mayGoOn(run);
  if (run.state.stopAfter) throw new RunStopped('stopped after the round');
  if (eventsOf(run) <= run.maxHistoryEvents && !workflowInfo().continueAsNewSuggested) return;
  await condition(allHandlersFinished);
  const { config, state, heartbeatTimeoutSeconds, maxHistoryEvents, until } = run;
  const place = until === undefined ? {} : { until };
  await continueAsNew<typeof softWorkflow>({ config, state, heartbeatTimeoutSeconds, maxHistoryEvents, ...place });
}

/** @throws RunStopped where the run is to wait for the others of its sweep */
export function endAt({ until }: Run, place: Border): void {
  if (until === place) throw new RunStopped(`waits after ${place}`, 'waiting');
}

/** Writes how the run ended into the store, whatever the end, and turns errors into failures with a code. */
export async function concluded(run: Run, work: () => Promise<void>): Promise<RunStatus> {
  const end = async (phase: RunPhase): Promise<RunStatus> => {
    run.state.phase = phase;
    await record(run, phase);
    return toStatus(run.id, phase, run.state);
  };
  try {
    await work();
    return await end('completed');
  } catch (error) {
    if (error instanceof RunStopped) return await end(error.phase);
    if (isCancellation(error)) {
      await end('cancelled');
      throw error;
    }
    const failure = toFailure(error);
    if (!failure) throw error;
    run.state.error = { code: failure.type ?? 'FAILED', message: failure.message, retryable: !failure.nonRetryable };
    await end('failed');
    throw failure;
  }
}

/** The failure to end the run with; undefined for what is no failure of the run (continue-as-new, a bug). */
export function toFailure(error: unknown): ApplicationFailure | undefined {
  if (error instanceof SoftflowError) return ApplicationFailure.nonRetryable(error.message, error.code, error.details);
  if (error instanceof ApplicationFailure) return error;
  if (error instanceof ActivityFailure && error.cause instanceof ApplicationFailure) return error.cause;
  return error instanceof ActivityFailure
    ? ApplicationFailure.nonRetryable(error.cause?.message ?? error.message, 'STEP_FAILED')
    : undefined;
}

/** @throws ApplicationFailure `CONFIG_INVALID`, with every fault */
export function parseConfig(config: unknown): RunConfig {
  const parsed = RunConfigSchema.safeParse(config);
  if (parsed.success) return parsed.data;
  throw ApplicationFailure.nonRetryable(
    `The run config is not valid:\n${z.prettifyError(parsed.error)}\nCorrect these fields and start the run again.`,
    'CONFIG_INVALID',
    { issues: parsed.error.issues.map(({ path, message }) => ({ path: path.join('.'), message })) },
  );
}
