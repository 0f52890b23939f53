import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { type Fault, toFault } from './faults.ts';

/** The Temporal failure of an error; cancellation and failures pass unchanged. */
export function toFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  return faultToFailure(toFault(error));
}

export function faultToFailure({ code, message, retryable, details }: Fault): ApplicationFailure {
  return ApplicationFailure.create({ message, type: code, nonRetryable: !retryable, details: [details] });
}
