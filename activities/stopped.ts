import { cancellationDetails } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';

/** The end of an activity that was asked to stop: cancelled by its run, or given up by a worker that shuts down. */
export function stopped(position: string): Error {
  const why = cancellationDetails();
  if (why?.cancelRequested || why?.paused || why?.reset) return new CancelledFailure(`Stopped at ${position}.`);
  return ApplicationFailure.retryable(
    `The worker shuts down; what was done up to ${position} is saved.`,
    'WORKER_SHUTDOWN',
  );
}
