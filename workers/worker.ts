import type { WorkerDeploymentVersion } from '@temporalio/common';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { isLoopback, type TemporalTarget, unreachable } from '../client/connect.ts';
import { probeTls } from '../client/tls-probe.ts';
import { dataConverter } from '../encryption/data-converter.ts';
import { openTracing } from '../telemetry/tracing.ts';
import { DEFAULT_TASK_QUEUE, type QueueKind } from '../workflows/task-queues.ts';
import { activityMetrics } from './activity-metrics.ts';
import { activityTraces } from './activity-traces.ts';
import { type MachineOptions, openMachine } from './machine.ts';
import type { MeasuredWorker } from './metrics-route.ts';
import { queueOptions, SHUTDOWN_GRACE } from './queue-options.ts';
import { memberOf, runTogether } from './run-together.ts';
import { jsonLogger } from './step-log.ts';
import { checkWorker, stateOf, type WorkerHealth } from './worker-health.ts';

export interface SoftflowWorkerOptions extends MachineOptions {
  target: TemporalTarget;
  /** Which queues this process serves. */
  queues: readonly QueueKind[];
  /** Base name of the queues. */
  taskQueue?: string;
  /**
   * Serves the workflow queue as this build of a worker deployment: runs that begin with a build end with it. Without it,
   * whichever worker is there goes on with a run.
   */
  version?: WorkerDeploymentVersion;
}

export interface RunningWorker extends WorkerHealth, MeasuredWorker {
  /** Resolves once the worker has shut down, running activities having been drained; rejects when it broke. */
  done: Promise<void>;
  /** Stops polling, drains what runs. */
  shutdown(): void;
}

/**
 * Starts the Temporal workers of one process, one a queue. SIGTERM, SIGINT and `shutdown` end them gracefully: steps are
 * drained to their next border and go on elsewhere, or here after the next start.
 *
 * @throws SoftflowError `TEMPORAL_UNREACHABLE`, `TEMPORAL_TLS_FAILED`, `TEMPORAL_DENIED`, `ENCRYPTION_KEYS_INVALID`,
 * `REPLACEMENT_INVALID`, and those of the store
 */
export async function startWorker(options: SoftflowWorkerOptions): Promise<RunningWorker> {
  const { target, queues, taskQueue = DEFAULT_TASK_QUEUE, version, ...rest } = options;
  const converter = dataConverter();
  const tracing = await openTracing('softflow-worker');
  const machine = await openMachine(rest, taskQueue, undefined, tracing);
  const { trainer, store, metrics, tensorWorker } = machine;
  const { namespace, ...connectionOptions } = target;
  await probeTls(target);
  // To compress takes longer than to copy.
  const compression = isLoopback(target.address) ? { grpcCompression: { codec: 'none' } as const } : {};
  const connection = await NativeConnection.connect({ ...connectionOptions, ...compression }).catch(
    (cause: unknown) => {
      throw unreachable(target.address, cause);
    },
  );
  const { identity } = tensorWorker;
  const interceptors = { activity: [...(tracing ? [activityTraces(tracing)] : []), activityMetrics(metrics)] };
  const shared = {
    connection,
    namespace,
    identity,
    interceptors,
    dataConverter: converter,
    shutdownGraceTime: SHUTDOWN_GRACE,
  };
  const parts = await Promise.all(queues.map((kind) => queueOptions(kind, taskQueue, machine, converter, version)));
  const workers = await Promise.all(parts.flat().map((part) => Worker.create({ ...shared, ...part })));
  const members = workers.map((worker) => memberOf(worker));
  const run = async () => {
    try {
      await runTogether(members);
    } finally {
      trainer.close();
      await connection.close();
      await tracing?.close();
    }
  };
  return {
    done: run(),
    shutdown: () => members.forEach((member) => member.shutdown()),
    state: () => stateOf(workers),
    check: () => checkWorker(workers, connection, store.root),
    metrics: () => metrics.registry.metrics(),
  };
}

/**
 * Log lines as JSON on the error output, and metrics of the SDK where a port for them is given; to be called before the
 * first worker or connection.
 */
export function installRuntime({ sdkMetricsPort }: { sdkMetricsPort?: number } = {}): void {
  const prometheus = {
    bindAddress: `127.0.0.1:${sdkMetricsPort}`,
    countersTotalSuffix: true,
    unitSuffix: true,
    useSecondsForDurations: true,
  };
  Runtime.install({
    logger: jsonLogger(),
    ...(sdkMetricsPort === undefined ? {} : { telemetryOptions: { metrics: { prometheus } } }),
  });
}
