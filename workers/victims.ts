import { readFileSync } from 'node:fs';
import { readDevState } from './dev-state.ts';
import { identify, type ProcessIdentity, signalProcess } from './process-identity.ts';

export const VICTIMS = ['trainer', 'worker', 'both'] as const;
export type Victims = (typeof VICTIMS)[number];

/**
 * Kills (SIGKILL) the embedded worker of tensor steps, its trainer, or both, as a demonstration; the supervisor starts the
 * worker again. Only Linux tells which trainer is a worker's: elsewhere a worker is killed, and its trainer ends by itself.
 *
 * @returns who was killed; undefined when there was nobody
 */
export async function killTensorWorker(stateFolder: string, wanted: Victims): Promise<Victims | undefined> {
  const state = await readDevState(stateFolder);
  const worker = state?.workers.find(({ queues }) => queues.includes('gpu'))?.process;
  if (!worker || identify(worker.pid)?.started !== worker.started) return undefined;
  const trainer = childrenOf(worker)[0];
  const victims = trainer ? wanted : 'worker';
  if (victims !== 'worker') signalProcess(trainer, 'SIGKILL');
  if (victims !== 'trainer') signalProcess(worker, 'SIGKILL');
  return victims;
}

function childrenOf({ pid }: ProcessIdentity): ProcessIdentity[] {
  try {
    const ids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    return ids.flatMap((id) => identify(Number(id)) ?? []);
  } catch {
    return [];
  }
}
