import { CancellationScope, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { LongRetrainActivities, Notification } from '../activities/retrain-contracts.ts';
import type { NotifyConfig } from './retrain-config.ts';
import { toFailure } from './run-lifecycle.ts';
import { notifyOptions } from './task-queues.ts';

/** Whom a retrain tells, and what is the same in all that it tells. */
export interface Audience {
  notify: NotifyConfig;
  schedule: string | null;
  asOf: string;
}

/**
 * Tells whom the recipe names, if they want to hear of such an event.
 *
 * @returns why they could not be told, which does not change what has happened; undefined when they were, or need not be
 */
export async function tell(
  { notify: { on, webhook, command }, schedule, asOf }: Audience,
  news: Omit<Notification, 'schedule' | 'asOf' | 'workflowId'>,
): Promise<string | undefined> {
  if (!on.includes(news.event) || !(webhook || command)) return undefined;
  const { workflowId, taskQueue } = workflowInfo();
  const notification: Notification = { ...news, schedule, asOf, workflowId };
  const { notify } = proxyActivities<LongRetrainActivities>(notifyOptions(taskQueue));
  try {
    await notify({ notification, ...(webhook ? { webhook } : {}), ...(command ? { command } : {}) });
    return undefined;
  } catch (fault) {
    if (CancellationScope.current().consideredCancelled) throw fault;
    return toFailure(fault)?.message ?? String(fault);
  }
}
