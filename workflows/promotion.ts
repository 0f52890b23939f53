import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { ParentClosePolicy, proxyActivities, startChild, workflowInfo } from '@temporalio/workflow';
import type {
  Champion,
  Decision,
  JudgeActivities,
  Judgement,
  Match,
  PromotionActivities,
} from '../activities/promotion-contracts.ts';
import { testChampion } from './champion-test.ts';
import type { PromoteConfig } from './promote-config.ts';
import { figuresOf, type PromotionOutcome, promotionId } from './promotion-state.ts';
import type { promotionWorkflow } from './promotion-workflow.ts';
import { HEARTBEAT_TIMEOUT_SECONDS, lightActivityOptions, longActivityOptions } from './task-queues.ts';
import type { Audience } from './tell.ts';

export interface PromotionRequest {
  /** A run that has reached its end. */
  runId: string;
  /** The recipe's `promote`. */
  promote: PromoteConfig;
  /** Who or what asks. */
  by: string;
  /** Who hears of a decision that is taken later. */
  audience?: Audience;
  heartbeatTimeoutSeconds?: number;
}

/**
 * Decides whether a finished run becomes current, by the recipe's mode: `automatic` promotes what passes the rule, `manual`
 * leaves what passes it to a person, in a workflow of its own that this one does not wait for, `never` only says what the
 * rule would have done. Every decision is noted with the run.
 */
export async function judgeAndPromote(request: PromotionRequest): Promise<PromotionOutcome> {
  const { mode } = request.promote;
  if (mode === 'automatic') return promoteIfBetter({ ...request, unattended: true });
  const judged = await judgeRun(request);
  if (!judged.judgement?.promote) return settle(request, judged, 'kept', judged.why);
  return mode === 'never'
    ? settle(request, judged, 'kept', `promote.mode is never; it would pass: ${judged.why}`)
    : askPerson(request, judged);
}

/** What a judgement was made of. */
export interface Judged {
  match: Match;
  /** Null when there was nothing to judge. */
  judgement: Judgement | null;
  why: string;
}

/** Tests the champion on the challenger's windows and judges both, the champion being the one that is current now. */
export async function judgeRun({ runId, promote, heartbeatTimeoutSeconds }: PromotionRequest): Promise<Judged> {
  const queue = workflowInfo().taskQueue;
  const place = { queue, heartbeatTimeoutSeconds: heartbeatTimeoutSeconds ?? HEARTBEAT_TIMEOUT_SECONDS };
  const { readMatch, judge } = proxyActivities<JudgeActivities>(
    longActivityOptions('cpu', queue, place.heartbeatTimeoutSeconds),
  );
  const match = await readMatch({ runId });
  const { challenger, champion } = match;
  if (champion?.release === challenger.release)
    return { match, judgement: null, why: 'its release is current already' };
  const judgement = await judge({
    rule: { ...promote.when, minWindows: promote.minWindows },
    opponent: champion ? 'champion' : 'popularity',
    windows: challenger.windows,
    challenger: challenger.predictions,
    champion: champion ? await testChampion(place, challenger, champion) : challenger.popularity,
    afterMs: champion?.trainedUntilMs ?? null,
  });
  return { match, judgement, why: judgement.why };
}

export interface PromotionWish extends PromotionRequest {
  /** In a person's words; by default the judgement's. */
  reason?: string;
  /** Pass over the rule. */
  force?: boolean;
  /** No person has looked: a release that was rolled back stays out. */
  unattended?: boolean;
}

/**
 * Promotes a run that passes the rule. When somebody else has moved `current` meanwhile, the run is judged again, against
 * the new champion.
 */
export async function promoteIfBetter(wish: PromotionWish): Promise<PromotionOutcome> {
  for (;;) {
    const judged = wish.force ? await unjudged(wish) : await judgeRun(wish);
    const { match, judgement, why } = judged;
    if (match.champion?.release === match.challenger.release) return settle(wish, judged, 'kept', why);
    if (judgement && !judgement.promote) return settle(wish, judged, 'kept', why);
    const { rolledBack } = match.challenger;
    if (wish.unattended && rolledBack) return settle(wish, judged, 'kept', takenBack(rolledBack));
    const outcome = await move(wish, judged);
    if (outcome) return outcome;
  }
}

/** What a person has taken back does not come again by itself, for instance in the next night without new data. */
function takenBack({ by, at }: { by: string; at: string }): string {
  return `the same release was rolled back by ${by} at ${at}; \`softflow promote\` makes it current again`;
}

async function unjudged({ runId, heartbeatTimeoutSeconds }: PromotionWish): Promise<Judged> {
  const options = longActivityOptions('cpu', workflowInfo().taskQueue, heartbeatTimeoutSeconds);
  const match = await proxyActivities<JudgeActivities>(options).readMatch({ runId });
  const current = match.champion?.release === match.challenger.release;
  return { match, judgement: null, why: current ? 'its release is current already' : 'promoted without the rule' };
}

/** Moves `current`, if the champion is still the one that was judged. @returns undefined when somebody was faster */
async function move(wish: PromotionWish, { match, judgement, why }: Judged): Promise<PromotionOutcome | undefined> {
  const { challenger, champion } = match;
  const { runId, release } = challenger;
  const moved = await light().promoteRun({
    release,
    runId,
    expected: champion?.number ?? 0,
    by: wish.by,
    reason: wish.reason || why,
    metrics: figuresOf(judgement),
    request: workflowInfo().runId,
  });
  if (!moved.won) return undefined;
  const { number, viewFault } = moved;
  return {
    ...outcomeOf(match, judgement, 'promoted', wish.reason || why),
    number,
    ...(viewFault === undefined ? {} : { viewFault }),
  };
}

/** Notes a decision that leaves `current` where it is. */
export async function settle(
  { by }: Pick<PromotionRequest, 'by'>,
  { match, judgement }: Pick<Judged, 'match' | 'judgement'>,
  decision: Exclude<Decision['decision'], 'promoted'>,
  why: string,
): Promise<PromotionOutcome> {
  const outcome = outcomeOf(match, judgement, decision, why);
  const { runId, release, champion } = outcome;
  await light().recordDecision({ decision, runId, release, champion, by, reason: why, metrics: figuresOf(judgement) });
  return outcome;
}

/** Starts the workflow that waits for a person; it outlives this one. */
async function askPerson(request: PromotionRequest, judged: Judged): Promise<PromotionOutcome> {
  const { runId, promote, audience, heartbeatTimeoutSeconds } = request;
  const outcome = await settle(request, judged, 'waiting', judged.why);
  const { release, champion, why } = outcome;
  const question = { release, champion, why, metrics: figuresOf(judged.judgement) };
  try {
    await startChild<typeof promotionWorkflow>('promotionWorkflow', {
      workflowId: promotionId(runId),
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `promote ${runId}?`,
      args: [
        {
          runId,
          promote,
          question,
          ...(audience ? { audience } : {}),
          ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}),
        },
      ],
    });
  } catch (error) {
    // The same run has been asked about already, and still waits.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
  return outcome;
}

function outcomeOf(
  { challenger: { runId, release }, champion }: { challenger: Match['challenger']; champion: Champion | null },
  judgement: Judgement | null,
  decision: Decision['decision'],
  why: string,
): PromotionOutcome {
  return { decision, why, runId, release, champion: champion?.release ?? null, number: null, judgement };
}

export function light(): ReturnType<typeof proxyActivities<PromotionActivities>> {
  return proxyActivities<PromotionActivities>(lightActivityOptions(workflowInfo().taskQueue));
}
