import { AsyncLocalStorage } from 'node:async_hooks';
import { defaultPayloadConverter } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { Circumstances } from '../activities/contracts.ts';
import { asTraceParent, type TraceParent, traceIdOf, traceOfExecution } from '../telemetry/trace-context.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import { TRACE_HEADER } from '../workflows/trace-headers.ts';
import type { TrainerEvents } from './trainer-client.ts';

/** The span of the activity that is running here. */
const current = new AsyncLocalStorage<TraceParent>();

/** Id of the trace to which this activity belongs; undefined where nothing is traced. */
export function currentTraceId(): string | undefined {
  const parent = current.getStore();
  return parent && traceIdOf(parent);
}

/** One span for each attempt of an activity, under what started its workflow. */
export function activityTraces(tracing: Tracing): ActivityInterceptorsFactory {
  return ({ info }) => ({
    inbound: {
      async execute(input, next) {
        const header = input.headers[TRACE_HEADER];
        const handedOn = header && asTraceParent(defaultPayloadConverter.fromPayload(header));
        const { workflowId = '', runId = '' } = info.workflowExecution ?? {};
        const key = (input.args[0] as { key?: unknown } | undefined)?.key;
        const span = tracing.begin(info.activityType, {
          under: handedOn ?? traceOfExecution(runId),
          attributes: {
            'softflow.run': runOf(input.args[0]) ?? workflowId,
            'softflow.attempt': info.attempt,
            ...(typeof key === 'string' ? { 'softflow.step.key': key } : {}),
          },
        });
        try {
          const result = await current.run(span.parent, () => next(input));
          span.end();
          return result;
        } catch (error) {
          const { name, type, message } = error as Error & { type?: string };
          span.end({ code: type ?? name, message });
          throw error;
        }
      },
    },
    outbound: {
      getLogAttributes: (input, next) => {
        const trace = currentTraceId();
        return { ...next(input), ...(trace ? { trace } : {}) };
      },
    },
  });
}

function runOf(input: unknown): string | undefined {
  const { circumstances, runId } = (input ?? {}) as { circumstances?: Circumstances; runId?: string };
  return circumstances?.runId ?? runId;
}

/** The spans of a trainer, as far as it tells its worker: its jobs, and the checkpoints that they save. */
export function trainerTraces(tracing: Tracing): Pick<TrainerEvents, 'begins'> {
  return {
    begins({ step, circumstances }, pid) {
      const attributes = { 'softflow.run': circumstances.runId, 'softflow.trainer.pid': pid };
      const job = tracing.begin(`trainer: ${step}`, { under: current.getStore(), attributes });
      return {
        saved({ seconds, bytes }) {
          const startMs = Date.now() - seconds * 1000;
          tracing.begin('save checkpoint', { under: job.parent, startMs, attributes: { bytes } }).end();
        },
        ended: (outcome) => job.end(outcome.kind === 'failed' ? outcome.fault : diedOf(outcome)),
      };
    },
  };
}

function diedOf(outcome: { kind: string; death?: { signal: string | null; exitCode: number | null } }) {
  if (outcome.kind !== 'died') return undefined;
  const { signal, exitCode } = outcome.death ?? { signal: null, exitCode: null };
  return { code: 'TRAINER_DIED', message: signal ?? `exit code ${exitCode}` };
}
