import { log } from '@temporalio/activity';
import { DefaultLogger, type LogEntry } from '@temporalio/worker';
import type { StepInput, StepResult } from '../activities/contracts.ts';
import { QUEUE_OF_STEP } from '../workflows/task-queues.ts';
import { type LogLine, writeLogLine } from './log-lines.ts';

/** A queue of activities has no workflows, by intent. */
const NO_NEWS = new Set(['No workflows registered, not polling for workflow tasks']);

/** The logger of the Temporal SDK: its warnings, and what steps say of themselves. */
export function jsonLogger(): DefaultLogger {
  return new DefaultLogger('INFO', (entry) => {
    const line = lineOf(entry);
    if (line) writeLogLine(line);
  });
}

function lineOf({ level, message, meta }: LogEntry): Omit<LogLine, 'time' | 'pid'> | undefined {
  if (NO_NEWS.has(message)) return undefined;
  const { sdkComponent, workflowId, activityType, attempt, key, trace, error } = meta ?? {};
  const ofStep = typeof activityType === 'string' && activityType in QUEUE_OF_STEP;
  // A step tells its own beginning and end; of everything else only warnings are news.
  if (ofStep ? key === undefined : level === 'INFO' || sdkComponent === 'activity') return undefined;
  return {
    level,
    source: 'worker',
    message,
    ...(typeof workflowId === 'string' ? { run: workflowId } : {}),
    ...(typeof activityType === 'string' ? { step: activityType } : {}),
    ...(typeof key === 'string' ? { key } : {}),
    ...(typeof attempt === 'number' ? { attempt } : {}),
    ...(typeof trace === 'string' ? { trace } : {}),
    ...(error instanceof Error ? { error: error.message } : {}),
  };
}

type StepActivity = (input: StepInput<unknown>) => Promise<StepResult<unknown> | null>;

/** A step's activity that writes its beginning and its end to the log. */
export function logged(name: string, activity: StepActivity): StepActivity {
  return async (input) => {
    const ids = { key: input.key };
    const began = performance.now();
    log.info(`${name} begins`, ids);
    try {
      const result = await activity(input);
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      log.info(result?.reused ? `${name} was done already` : `${name} done in ${seconds} s`, ids);
      return result;
    } catch (error) {
      const { name: kind, type, message } = error as Error & { type?: string };
      log.warn(`${name} ends with ${type ?? kind}: ${message}`, ids);
      throw error;
    }
  };
}
