import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  proxyActivities,
  setCurrentDetails,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { LongRetrainActivities, RetrainActivities } from '../activities/retrain-contracts.ts';
import { durationMs } from './duration.ts';
import type { RetrainInput, RetrainOutcome, RetrainStatus } from './retrain-state.ts';
import type { RunConfig } from './run-config.ts';
import { parseConfig, toFailure } from './run-lifecycle.ts';
import { HEARTBEAT_TIMEOUT_SECONDS, lightActivityOptions, longActivityOptions } from './task-queues.ts';
import { tell } from './tell.ts';

/** A retrain in progress. */
export interface Retrain {
  input: RetrainInput;
  config: RunConfig;
  status: RetrainStatus;
}

/** The time that a start stands for: what the schedule planned, however late it happens. */
const SCHEDULED_START = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME);

/** Ends a retrain in good order, before or after its training. */
export class RetrainEnd extends Error {
  override readonly name = 'RetrainEnd';
  readonly outcome: RetrainOutcome;
  constructor(outcome: RetrainOutcome, reason: string) {
    super(reason);
    this.outcome = outcome;
  }
}

/** @throws ApplicationFailure `CONFIG_INVALID` */
export function openRetrain(input: RetrainInput): Retrain {
  const config = parseConfig(input.config);
  const asOf = asOfOf(input);
  const schedule = input.schedule ?? null;
  const status: RetrainStatus = {
    workflowId: workflowInfo().workflowId,
    schedule,
    phase: 'preparing',
    asOf: asOf.toISOString(),
    trainUntil: new Date(asOf.getTime() - (durationMs(config.retrain.evalSpan) as number)).toISOString(),
    runId: runIdOf(schedule ?? config.name, asOf),
    champion: null,
  };
  return { input, config, status };
}

function asOfOf({ asOf }: RetrainInput): Date {
  const { typedSearchAttributes, startTime } = workflowInfo();
  const moment = asOf === undefined ? (typedSearchAttributes.get(SCHEDULED_START) ?? startTime) : new Date(asOf);
  if (!Number.isNaN(moment.getTime())) return moment;
  throw ApplicationFailure.nonRetryable(`Expected \`asOf\` to be an RFC 3339 instant, got ${asOf}.`, 'CONFIG_INVALID');
}

/** `nightly-20261125t030000z-3f2a`: with the number of a run of a sweep at most 64 characters, and another one each time the same date is made up for. */
function runIdOf(name: string, asOf: Date): string {
  const time = asOf.toISOString().replace(/\.\d+/, '').replace(/[-:]/g, '').toLowerCase();
  return `${name.slice(0, 38)}-${time}-${uuid4().slice(0, 4)}`;
}

/** Writes what became of the retrain into the store, tells whom the recipe names, and turns errors into failures. */
export async function concludedRetrain(retrain: Retrain, work: () => Promise<never>): Promise<RetrainStatus> {
  const { status } = retrain;
  try {
    return await work();
  } catch (error) {
    if (error instanceof RetrainEnd) {
      Object.assign(status, { phase: 'ended', outcome: error.outcome, reason: error.message });
      await conclude(retrain);
      return status;
    }
    // Cancelled, by a person or by a newer start: nothing is left to tell.
    if (CancellationScope.current().consideredCancelled) throw error;
    const failure = trainingFailure(error, status) ?? toFailure(error);
    if (!failure) throw error;
    Object.assign(status, { phase: 'failed', error: { code: failure.type ?? 'FAILED', message: failure.message } });
    await conclude(retrain);
    throw failure;
  }
}

/** Why the run that trains has failed; undefined when it is not the one that has. */
export function trainingFailure(
  error: unknown,
  { runId }: Pick<RetrainStatus, 'runId'>,
): ApplicationFailure | undefined {
  if (!(error instanceof ChildWorkflowFailure)) return undefined;
  const { cause } = error;
  const type = cause instanceof ApplicationFailure ? cause.type : 'TRAINING_LOST';
  return ApplicationFailure.nonRetryable(
    `Training in run ${runId} ended without a result: ${cause?.message ?? error.message}`,
    type ?? 'TRAINING_LOST',
  );
}

async function conclude(retrain: Retrain): Promise<void> {
  const { status } = retrain;
  setCurrentDetails(wordsOf(status));
  const { recordRetrain } = proxyActivities<RetrainActivities>(lightActivityOptions(workflowInfo().taskQueue));
  await tellOutcome(retrain);
  await recordRetrain.executeWithOptions({ summary: `record: ${status.outcome ?? 'failed'}` }, [
    { runId: status.runId, status },
  ]);
}

async function tellOutcome({ config: { notify }, status }: Retrain): Promise<void> {
  const event = status.outcome ?? 'failed';
  if (event === 'skipped') return;
  const { schedule, runId, asOf, champion, challenger = null, error = null } = status;
  const fault = await tell(
    { notify, schedule, asOf },
    { event, text: wordsOf(status), runId, champion, challenger, error },
  );
  if (fault !== undefined) status.notifyFault = fault;
}

function wordsOf({ outcome, reason, error }: RetrainStatus): string {
  return outcome ? `${outcome}: ${reason}` : `failed: ${error?.code}: ${error?.message}`;
}

/** Activities of the cpu queue. */
export function long({ input }: Retrain): ReturnType<typeof proxyActivities<LongRetrainActivities>> {
  const heartbeat = input.heartbeatTimeoutSeconds ?? HEARTBEAT_TIMEOUT_SECONDS;
  return proxyActivities<LongRetrainActivities>(longActivityOptions('cpu', workflowInfo().taskQueue, heartbeat));
}
