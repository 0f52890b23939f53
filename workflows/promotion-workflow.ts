import {
  ApplicationFailure,
  allHandlersFinished,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import * as z from 'zod';
import { durationMs } from './duration.ts';
import { type PromoteConfig, PromoteConfigSchema } from './promote-config.ts';
import { light, promoteIfBetter } from './promotion.ts';
import { promoteUpdate, promotionQuery, rejectUpdate, supersededSignal } from './promotion-messages.ts';
import {
  type Answer,
  type PromotionOutcome,
  type PromotionStatus,
  promotionId,
  type Question,
} from './promotion-state.ts';
import { toFailure } from './run-lifecycle.ts';
import { type Audience, tell } from './tell.ts';

export interface PromotionWorkflowInput {
  runId: string;
  /** The recipe's `promote`; parsed again, because any client may start the workflow with anything. */
  promote: unknown;
  /** What a person is asked. Absent when the person's answer comes with the start: then nobody is asked. */
  question?: Question;
  /** Who is reminded, and told what came of it. */
  audience?: Audience;
  /** Circumstances that tests shorten. */
  heartbeatTimeoutSeconds?: number;
}

interface Promotion {
  input: PromotionWorkflowInput;
  promote: PromoteConfig;
  reminders: number;
  answer?: Answer;
  outcome?: PromotionOutcome;
  failure?: Error;
}

/** Waits for a person's word on one challenger, reminds, and gives up waiting at last. Promotion itself is judged anew. */
export async function promotionWorkflow(input: PromotionWorkflowInput): Promise<PromotionOutcome> {
  const promotion: Promotion = { input, promote: parsePromote(input.promote), reminders: 0 };
  handleAnswers(promotion);
  try {
    if (input.question) await takeTurn(promotion, input.question);
    const answer = await answerOf(promotion);
    promotion.outcome = await decide(promotion, answer);
    await tellOutcome(input, promotion.outcome);
    setCurrentDetails(`${promotion.outcome.decision}: ${promotion.outcome.why}`);
    return promotion.outcome;
  } catch (error) {
    promotion.failure = toFailure(error) ?? (error as Error);
    throw promotion.failure;
  } finally {
    // Whoever has answered is told what came of it before the workflow ends.
    if (promotion.outcome || promotion.failure) await condition(allHandlersFinished);
  }
}

function handleAnswers(promotion: Promotion): void {
  const settled = async (answer: Answer): Promise<PromotionOutcome> => {
    promotion.answer = answer;
    await condition(() => promotion.outcome !== undefined || promotion.failure !== undefined);
    if (promotion.outcome) return promotion.outcome;
    throw promotion.failure;
  };
  setHandler(promotionQuery, () => statusOf(promotion));
  setHandler(promoteUpdate, ({ by, reason, force }) => settled({ kind: 'promote', by, reason, force }), {
    validator: (request) => {
      requireOpen(promotion);
      requireWords(request?.by, 'Expected `by` to say who promotes.');
    },
  });
  setHandler(rejectUpdate, ({ by, reason }) => settled({ kind: 'reject', by, reason }), {
    validator: (request) => {
      requireOpen(promotion);
      requireWords(request?.by, 'Expected `by` to say who rejects.');
      requireWords(request?.reason, 'Expected a reason: whoever reads the audit table next year will want it.');
    },
  });
  setHandler(supersededSignal, ({ runId }) => {
    promotion.answer ??= { kind: 'superseded', by: runId };
  });
}

/** A newer challenger takes the place of one that still waits. */
async function takeTurn({ input: { runId } }: Promotion, { why }: Question): Promise<void> {
  setCurrentDetails(`Waits for a person: \`softflow promote ${runId}\` or \`softflow reject ${runId}\`.\n\n${why}`);
  const before = await light().announceWaiting({ runId, execution: workflowInfo().runId });
  if (before === null) return;
  try {
    // That very execution: the same run may have been asked about again meanwhile, and that question is newer.
    await getExternalWorkflowHandle(promotionId(before.runId), before.execution).signal(supersededSignal, { runId });
  } catch (error) {
    // It has been decided meanwhile.
    if (isCancellation(error)) throw error;
  }
}

/** The answer that comes, with reminders while it does not; the timeout's when it never does. */
async function answerOf(promotion: Promotion): Promise<Answer> {
  const { promote, input } = promotion;
  const answered = () => promotion.answer !== undefined;
  let left = durationMs(promote.timeout) ?? 0;
  // 0s: without reminders.
  const reminder = durationMs(promote.reminder) || left;
  while (!answered() && left > 0) {
    const span = Math.min(reminder, left);
    left -= span;
    if (!(await condition(answered, span)) && left > 0 && input.question) await remind(promotion, input.question);
  }
  promotion.answer ??= { kind: 'timeout' };
  return promotion.answer;
}

async function remind(promotion: Promotion, { release, champion, why }: Question): Promise<void> {
  promotion.reminders++;
  const { runId, audience } = promotion.input;
  const text = `${runId} still waits for a person: ${why}`;
  if (audience) await tell(audience, { event: 'waiting', text, runId, champion, challenger: release, error: null });
}

/** What a person has decided is news as well; what a person was not asked about was told by whoever asked. */
async function tellOutcome({ runId, audience }: PromotionWorkflowInput, outcome: PromotionOutcome): Promise<void> {
  const { decision, why, champion, release } = outcome;
  const event = decision === 'promoted' ? 'promoted' : 'kept';
  const text = `${runId} ${decision}: ${why}`;
  if (audience) await tell(audience, { event, text, runId, champion, challenger: release, error: null });
}

async function decide({ input, promote }: Promotion, answer: Answer): Promise<PromotionOutcome> {
  const { runId, heartbeatTimeoutSeconds } = input;
  const request = { runId, promote, ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}) };
  if (answer.kind === 'promote') return promoteIfBetter({ ...request, ...answer });
  if (answer.kind === 'reject') return close(input, 'rejected', answer.by, answer.reason);
  if (answer.kind === 'superseded')
    return close(input, 'superseded', answer.by, `run ${answer.by} is newer and passes the rule as well`);
  const waited = `nobody decided within promote.timeout ${promote.timeout}`;
  const by = workflowInfo().workflowId;
  return promote.onTimeout === 'promote'
    ? promoteIfBetter({ ...request, by, reason: waited, unattended: true })
    : close(input, 'kept', by, waited);
}

/** Ends the question and leaves `current` where it is. */
async function close(
  { runId, question }: PromotionWorkflowInput,
  decision: 'rejected' | 'superseded' | 'kept',
  by: string,
  why: string,
): Promise<PromotionOutcome> {
  if (!question)
    throw ApplicationFailure.nonRetryable(
      `Nobody was asked about ${runId}, so only \`promote\` makes sense.`,
      'UPDATE_REFUSED',
    );
  const { release, champion, metrics } = question;
  await light().recordDecision({ decision, runId, release, champion, by, reason: why, metrics });
  return { decision, why, runId, release, champion, number: null, judgement: null };
}

function statusOf({ input, reminders, answer, outcome }: Promotion): PromotionStatus {
  const phase = outcome ? 'ended' : answer ? 'deciding' : 'waiting';
  return { runId: input.runId, phase, question: input.question ?? null, reminders, outcome: outcome ?? null };
}

function requireOpen({ answer }: Promotion): void {
  if (answer) throw ApplicationFailure.nonRetryable(`This is decided already: ${answer.kind}.`, 'UPDATE_REFUSED');
}

function requireWords(text: unknown, message: string): void {
  if (typeof text !== 'string' || text.trim() === '') throw ApplicationFailure.nonRetryable(message, 'UPDATE_REFUSED');
}

function parsePromote(promote: unknown): PromoteConfig {
  const { data, error } = PromoteConfigSchema.safeParse(promote);
  if (data) return data;
  throw ApplicationFailure.nonRetryable(`promote: ${z.prettifyError(error)}`, 'CONFIG_INVALID');
}
