import { suggest } from '../../client/suggest.ts';
import { SoftflowError } from '../../errors.ts';
import type { BackendChoice } from '../../workers/backend-choices.ts';
import { type HealthServer, startHealthServer } from '../../workers/health-server.ts';
import { metricsRoute } from '../../workers/metrics-route.ts';
import { anyPort } from '../../workers/ports.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { workerRoutes } from '../../workers/worker-health.ts';
import type { QueueKind } from '../../workflows/task-queues.ts';
import { parseByteSize } from '../byte-size.ts';
import { EXIT } from '../exit-codes.ts';
import { parsePort } from '../port.ts';
import { findTarget, STORE_FOLDER } from '../session.ts';
import { oneLine, type Terminal } from '../terminal.ts';

const QUEUES: readonly QueueKind[] = ['workflow', 'cpu', 'gpu'];

export interface WorkerCommandOptions {
  queues: string;
  taskQueue?: string;
  backend: BackendChoice;
  maxVram?: string;
  store?: string;
  healthPort?: string;
  healthHost?: string;
  buildId?: string;
  deployment: string;
}

/** Serves queues until SIGTERM or Ctrl-C: what is at work is brought to its next border and saved, then it ends with 0. */
export async function worker(options: WorkerCommandOptions, terminal: Terminal): Promise<number> {
  const queues = parseQueues(options.queues);
  const target = await findTarget();
  if (!target)
    throw new SoftflowError(
      'USAGE',
      'No Temporal server to work for. Set TEMPORAL_ADDRESS (or a profile), or start the embedded one: softflow dev start',
    );
  const { startWorker } = await import('../../workers/worker.ts');
  const version = buildOf(options, queues);
  const bound = options.maxVram === undefined ? {} : { maxVramBytes: parseByteSize('--max-vram', options.maxVram) };
  let running: RunningWorker | undefined;
  const health = await observe(options, () => running);
  try {
    running = await startWorker({
      target,
      queues,
      storeRoot: options.store ?? STORE_FOLDER,
      backend: options.backend,
      ...bound,
      ...(options.taskQueue === undefined ? {} : { taskQueue: options.taskQueue }),
      ...(version ? { version } : {}),
    });
    terminal.out(`serving ${queues.join(', ')} of ${target.address}; Ctrl-C ends after the unit of work in progress`);
    if (version)
      terminal.out(
        `workflows as build ${version.buildId}; new runs begin with it after: softflow builds ${version.buildId}`,
      );
    if (health) terminal.out(`health on ${health.url}/healthz and /readyz, metrics on /metrics`);
    await running.done;
  } finally {
    await health?.close();
  }
  return EXIT.ok;
}

function buildOf({ buildId, deployment }: WorkerCommandOptions, queues: readonly QueueKind[]) {
  if (buildId === undefined || !queues.includes('workflow')) return undefined;
  if (/^[\w.+-]{1,64}$/.test(buildId)) return { deploymentName: deployment, buildId };
  throw new SoftflowError(
    'USAGE',
    `--build-id ${oneLine(buildId, 80)}: expected 1 to 64 letters, digits, ".", "_", "+" or "-", such as a version or a commit.`,
  );
}

/** Log lines; and probes and metrics on a port, if one is asked for. */
async function observe(
  { healthPort, healthHost }: WorkerCommandOptions,
  worker: () => RunningWorker | undefined,
): Promise<HealthServer | undefined> {
  const { installRuntime } = await import('../../workers/worker.ts');
  if (healthPort === undefined) {
    installRuntime();
    return undefined;
  }
  const place = { port: parsePort('--health-port', healthPort), ...(healthHost ? { host: healthHost } : {}) };
  const sdkMetricsPort = await anyPort();
  installRuntime({ sdkMetricsPort });
  return startHealthServer(place, { ...workerRoutes(worker), ...metricsRoute(worker, sdkMetricsPort) });
}

export function parseQueues(text: string): QueueKind[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names)
    if (!QUEUES.includes(name as QueueKind)) {
      const near = suggest(name, QUEUES);
      throw new SoftflowError(
        'USAGE',
        `--queues ${text}: expected some of ${QUEUES.join(', ')}, got "${name}"${near ? `, did you mean "${near}"?` : '.'}`,
      );
    }
  return [...new Set(names)] as QueueKind[];
}
