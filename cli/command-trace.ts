import { commandTrace, setCommandTrace } from '../telemetry/trace-context.ts';
import { tracingAsked } from '../telemetry/tracing.ts';

/** They serve until they are ended, and their work has traces of its own. */
const SERVING = new Set(['worker', 'dev', 'ui']);

/**
 * Begins the trace of a command where OpenTelemetry's variables ask for one: what it starts lies under it, up to the jobs of
 * trainers. Loads nothing otherwise.
 *
 * @returns ends it with the command's exit code
 */
export async function traceCommand([name = 'help']: readonly string[]): Promise<(code: number) => Promise<void>> {
  if (!tracingAsked() || SERVING.has(name)) return async () => {};
  const { openTracing } = await import('../telemetry/tracing.ts');
  const tracing = await openTracing('softflow');
  const span = tracing?.begin(`softflow ${name}`, { under: commandTrace() });
  setCommandTrace(span?.parent);
  return async (code) => {
    span?.end(code === 0 ? undefined : { code: 'EXIT', message: String(code) });
    await tracing?.close();
  };
}
