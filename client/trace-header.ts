import type { WorkflowClientInterceptor } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { commandTrace } from '../telemetry/trace-context.ts';
import { TRACE_HEADER } from '../workflows/trace-headers.ts';

/** Gives workflows the trace of the command that starts them. */
export const traceHeader: WorkflowClientInterceptor = {
  startWithDetails(input, next) {
    const trace = commandTrace();
    if (!trace) return next(input);
    return next({
      ...input,
      headers: { ...input.headers, [TRACE_HEADER]: defaultPayloadConverter.toPayload(trace) },
    });
  },
};
