import type { Headers, WorkflowInterceptorsFactory } from '@temporalio/workflow';

/** Header of workflows and activities that carries a W3C trace parent, its payload a JSON string. */
export const TRACE_HEADER = 'traceparent';

/** Hands the trace that started a workflow on to its activities, to workflows it starts and to its next history. */
export const interceptors: WorkflowInterceptorsFactory = () => {
  let own: Headers = {};
  const handOn = <Input extends { headers: Headers }>(input: Input): Input => ({
    ...input,
    headers: { ...own, ...input.headers },
  });
  return {
    inbound: [
      {
        execute(input, next) {
          const header = input.headers[TRACE_HEADER];
          own = header ? { [TRACE_HEADER]: header } : {};
          return next(input);
        },
      },
    ],
    outbound: [
      {
        scheduleActivity: (input, next) => next(handOn(input)),
        scheduleLocalActivity: (input, next) => next(handOn(input)),
        startChildWorkflowExecution: (input, next) => next(handOn(input)),
        continueAsNew: (input, next) => next(handOn(input)),
      },
    ],
  };
};
