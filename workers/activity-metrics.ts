import type { Info } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { StepResult } from '../activities/contracts.ts';
import type { AttemptOutcome, WorkerMetrics } from '../telemetry/worker-metrics.ts';
import { QUEUE_OF_STEP } from '../workflows/task-queues.ts';

/** Counts and times every activity of a worker. */
export function activityMetrics(metrics: WorkerMetrics): ActivityInterceptorsFactory {
  return ({ info }) => ({
    inbound: {
      async execute(input, next) {
        const measure = info.activityType in QUEUE_OF_STEP ? measureStep(metrics, info) : undefined;
        try {
          const result = await next(input);
          measure?.((result as StepResult<unknown> | null)?.reused ? 'found' : 'done');
          return result;
        } catch (error) {
          const code = codeOf(error);
          measure?.(code === undefined ? 'stopped' : 'failed');
          if (code !== undefined) metrics.activityFailed(info.activityType, code);
          throw error;
        }
      },
    },
  });
}

function measureStep(metrics: WorkerMetrics, { activityType, currentAttemptScheduledTimestampMs }: Info) {
  const began = performance.now();
  metrics.attemptBegins(activityType, (Date.now() - currentAttemptScheduledTimestampMs) / 1000);
  return (outcome: AttemptOutcome) => metrics.attemptEnds(activityType, outcome, (performance.now() - began) / 1000);
}

/** Undefined for one that was asked to stop, or handed over by a worker that shuts down. */
function codeOf(error: unknown): string | undefined {
  if (error instanceof CancelledFailure) return undefined;
  if (!(error instanceof ApplicationFailure)) return 'UNEXPECTED';
  return error.type === 'WORKER_SHUTDOWN' ? undefined : (error.type ?? 'UNEXPECTED');
}
