import type { Span as ApiSpan, Attributes } from '@opentelemetry/api';
import { packageVersion } from '../setup/paths.ts';
import type { TraceParent } from './trace-context.ts';

/** Of the trace of a run: a command, an attempt of an activity, a job of the trainer. */
export interface Span {
  parent: TraceParent;
  /** @param error what it ended with, if it failed */
  end(error?: { code: string; message: string }): void;
}

export interface SpanOptions {
  under?: TraceParent | undefined;
  attributes?: Attributes;
  /** Milliseconds since the epoch; now by default. */
  startMs?: number;
}

export interface Tracing {
  begin(name: string, options?: SpanOptions): Span;
  /** Sends what has not been sent; gives up after two seconds. */
  close(): Promise<void>;
}

const CLOSE_MS = 2000;

/** Whether OpenTelemetry's own variables ask for traces. */
export function tracingAsked(env: NodeJS.ProcessEnv = process.env): boolean {
  const off = env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none';
  return !off && Boolean(env['OTEL_EXPORTER_OTLP_ENDPOINT'] || env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']);
}

/** Loads OpenTelemetry, which sends spans by OTLP over HTTP to where its own variables say; undefined when they say nothing. */
export async function openTracing(service: string, env: NodeJS.ProcessEnv = process.env): Promise<Tracing | undefined> {
  if (!tracingAsked(env)) return undefined;
  const [
    { ROOT_CONTEXT, SpanStatusCode, trace },
    { BatchSpanProcessor, TracerProvider },
    { resourceFromAttributes },
    otlp,
  ] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ]);
  const resource = resourceFromAttributes({
    'service.name': env['OTEL_SERVICE_NAME'] || service,
    'service.version': packageVersion(),
    'process.pid': process.pid,
  });
  const processor = new BatchSpanProcessor({ exporter: new otlp.OTLPTraceExporter(), scheduledDelayMillis: 1000 });
  const provider = new TracerProvider({ resource, spanProcessors: [processor] });
  const tracer = provider.getTracer('softflow', packageVersion());
  const contextOf = (under: TraceParent | undefined) => {
    const [, traceId, spanId] = under?.split('-') ?? [];
    if (!traceId || !spanId) return ROOT_CONTEXT;
    return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: 1, isRemote: true });
  };
  const endOf =
    (span: ApiSpan): Span['end'] =>
    (error) => {
      if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: `${error.code}: ${error.message}` });
      span.end();
    };
  return {
    begin(name, { under, attributes = {}, startMs } = {}) {
      const span = tracer.startSpan(
        name,
        { attributes, ...(startMs === undefined ? {} : { startTime: startMs }) },
        contextOf(under),
      );
      const { traceId, spanId } = span.spanContext();
      return { parent: `00-${traceId}-${spanId}-01`, end: endOf(span) };
    },
    async close() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref());
      await Promise.race([provider.shutdown().catch(() => {}), late]);
    },
  };
}
