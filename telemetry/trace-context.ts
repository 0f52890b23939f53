/** W3C Trace Context: `00-<32 hex digits of the trace>-<16 of the span above>-<flags>`. */
export type TraceParent = string;

const FORM = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Undefined for what is not one. */
export function asTraceParent(value: unknown): TraceParent | undefined {
  return typeof value === 'string' && FORM.test(value) ? value : undefined;
}

export function traceIdOf(parent: TraceParent): string {
  return parent.split('-')[1] as string;
}

/** The parent of all spans of a workflow that nobody's trace has started, a schedule for instance: its own id, a UUID. */
export function traceOfExecution(executionId: string): TraceParent | undefined {
  const hex = executionId.replaceAll('-', '').toLowerCase();
  return asTraceParent(`00-${hex}-${hex.slice(16)}-01`);
}

/** Of this process's command; `TRACEPARENT` is the way in which whoever starts a process hands its trace on. */
let command: TraceParent | undefined;

export function setCommandTrace(parent: TraceParent | undefined): void {
  command = parent;
}

export function commandTrace(env: NodeJS.ProcessEnv = process.env): TraceParent | undefined {
  return command ?? asTraceParent(env['TRACEPARENT']);
}
