import type { WorkflowExecutionDescription } from '@temporalio/client';
import { hasEnded, type RunPhase, type RunStatus } from '../workflows/run-state.ts';

/** What Temporal's name for the end of a workflow says of a run or sweep, unless that has said more itself. */
export const ENDED_AS: Partial<Record<string, RunPhase>> = {
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
  TERMINATED: 'failed',
  TIMED_OUT: 'failed',
};

/** Whether an error is one of Temporal's; by its name, because its packages are loaded only once a server is asked. */
export const isError = (error: unknown, name: string): error is Error & { cause?: Error } =>
  error instanceof Error && error.name === name;

/** A run's last record, as the server says that it ended. */
export function closed(recorded: RunStatus, phase: RunPhase, { status }: WorkflowExecutionDescription): RunStatus {
  // A run that was stopped or waits for others has completed for Temporal; only its own record knows the difference.
  if (phase === 'completed' && (recorded.phase === 'stopped' || recorded.phase === 'waiting')) return recorded;
  const error = recorded.error ?? {
    code: status.name,
    message: `The workflow ended as ${status.name.toLowerCase()} before it could say why.`,
    retryable: true,
  };
  return { ...recorded, phase, ...(phase === 'failed' ? { error } : {}) };
}

/** A last record, as the server says that the workflow is at work: what it ended as before is over. */
export function reopened<T extends { phase: RunPhase; error?: unknown }>(recorded: T): T {
  if (!hasEnded(recorded) && recorded.phase !== 'waiting') return recorded;
  const { error: _, ...rest } = recorded;
  return { ...rest, phase: 'running' } as T;
}

/** From its start to its end, or to now. */
export function elapsed({ startTime, closeTime }: WorkflowExecutionDescription): { elapsedSeconds: number } {
  return { elapsedSeconds: ((closeTime ?? new Date()).getTime() - startTime.getTime()) / 1000 };
}
