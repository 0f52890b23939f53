import { expect, test } from 'vitest';
import { asTraceParent, commandTrace, traceIdOf, traceOfExecution } from '../../telemetry/trace-context.ts';
import { openTracing, tracingAsked } from '../../telemetry/tracing.ts';

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

test('only a trace parent is taken for one', () => {
  expect(asTraceParent(PARENT)).toBe(PARENT);
  for (const other of [
    '',
    'x',
    PARENT.toUpperCase(),
    `${PARENT}-x`,
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    7,
    null,
  ])
    expect(asTraceParent(other)).toBeUndefined();
  expect(commandTrace({ TRACEPARENT: PARENT })).toBe(PARENT);
  expect(commandTrace({ TRACEPARENT: '$(rm)' })).toBeUndefined();
});

test('a workflow that no trace has started has its own id for one', () => {
  const parent = traceOfExecution('0190f3c2-1111-7222-8333-444455556666');
  expect(parent && traceIdOf(parent)).toBe('0190f3c2111172228333444455556666');
  expect(traceOfExecution('')).toBeUndefined();
});

test('without OpenTelemetry variables nothing is traced', async () => {
  expect(tracingAsked({})).toBe(false);
  expect(tracingAsked({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x', OTEL_SDK_DISABLED: 'true' })).toBe(false);
  expect(tracingAsked({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://x' })).toBe(true);
  expect(await openTracing('test', {})).toBeUndefined();
});
