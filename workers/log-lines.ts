import { activityInfo } from '@temporalio/activity';
import type { StepInput } from '../activities/contracts.ts';
import { currentTraceId } from './activity-traces.ts';

/** One line of a worker's log: JSON, so that `softflow logs` and other tools find what belongs to a run. */
export interface LogLine {
  /** ISO 8601. */
  time: string;
  level: string;
  /** Who wrote it: the worker itself, or its trainer on its error output. */
  source: 'worker' | 'trainer';
  pid: number;
  message: string;
  run?: string;
  /** Name of the step's activity, and its key. */
  step?: string;
  key?: string;
  attempt?: number;
  /** Id of the OpenTelemetry trace, where there are traces. */
  trace?: string;
  /** The error that an SDK message is about. */
  error?: string;
}

/** What a line of a step belongs to. */
export type LogIds = Pick<LogLine, 'run' | 'step' | 'key' | 'attempt' | 'trace'>;

export function writeLogLine(line: Omit<LogLine, 'time' | 'pid'>): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), pid: process.pid, ...line })}\n`);
}

/** Ids of the step that a trainer is handed, with the attempt where it is an activity's. */
export function idsOf({ circumstances, step, key }: StepInput<unknown>): LogIds {
  const trace = currentTraceId();
  return { run: circumstances.runId, step, key, ...attemptNow(), ...(trace ? { trace } : {}) };
}

function attemptNow(): { attempt?: number } {
  try {
    return { attempt: activityInfo().attempt };
  } catch {
    // Not in an activity.
    return {};
  }
}
