import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NativeConnection, Worker } from '@temporalio/worker';
import type { HealthAnswer, HealthRoutes } from './health-server.ts';

/** How one of the things that a worker needs does: `ok`, or in words why not. */
export interface WorkerChecks {
  workers: string;
  temporal: string;
  store: string;
}

/** What the probes ask of a worker. */
export interface WorkerHealth {
  /** `ok`, `draining` or `failed`. */
  state(): string;
  /** How it does, asked anew each time; answers within two seconds. */
  check(): Promise<WorkerChecks>;
}

const ANSWER_MS = 2000;

/** Asks whether the queues are polled, the server answers and the store can be written. */
export async function checkWorker(
  workers: readonly Worker[],
  connection: NativeConnection,
  storeRoot: string,
): Promise<WorkerChecks> {
  const [temporal, store] = await Promise.all([
    inWords(() => connection.workflowService.getSystemInfo({})),
    inWords(() => access(storeRoot, constants.R_OK | constants.W_OK)),
  ]);
  return { workers: stateOf(workers), temporal, store };
}

/** `ok`, `draining` or `failed`. */
export function stateOf(workers: readonly Worker[]): string {
  const states = workers.map((worker) => worker.getState());
  if (states.every((state) => state === 'RUNNING')) return 'ok';
  return states.some((state) => state === 'FAILED') ? 'failed' : 'draining';
}

function inWords(check: () => Promise<unknown>): Promise<string> {
  // A call to a server that is away is tried again for longer than a probe waits, and one to a hung disk for ever.
  const late = sleep(ANSWER_MS, `no answer within ${ANSWER_MS / 1000} s`, { ref: false });
  return Promise.race([check().then(() => 'ok'), late]).catch((error: Error) => error.message);
}

/**
 * `/healthz`: the process lives, so that only one that hangs or has broken is started anew; a server or a store that is
 * away is no reason to kill it. `/readyz`: it can take work.
 *
 * @param worker undefined while it starts
 */
export function workerRoutes(worker: () => WorkerHealth | undefined): HealthRoutes {
  return {
    '/healthz': () => {
      const state = worker()?.state() ?? 'starting';
      return { status: state === 'failed' ? 503 : 200, body: { status: state } };
    },
    '/readyz': async () => readiness(await worker()?.check()),
  };
}

function readiness(checks: WorkerChecks | undefined): HealthAnswer {
  if (!checks) return { status: 503, body: { status: 'starting' } };
  const ready = Object.values(checks).every((check) => check === 'ok');
  return { status: ready ? 200 : 503, body: { status: ready ? 'ready' : 'not ready', ...checks } };
}
