import type { Worker } from '@temporalio/worker';

/** A worker, and how it is run. */
export interface Member {
  /** Resolves once it has shut down, rejects when it broke. */
  run(): Promise<void>;
  /** Without effect unless it runs. */
  shutdown(): void;
}

export function memberOf(worker: Worker, run: () => Promise<void> = () => worker.run()): Member {
  const shutdown = () => {
    if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  return { run, shutdown };
}

/**
 * Runs workers until all have ended. The end of one ends the others: half a process would look alive and serve nothing.
 *
 * @throws whatever broke the first of them that broke
 */
export async function runTogether(members: readonly Member[]): Promise<void> {
  const shutdown = () => {
    for (const member of members) member.shutdown();
  };
  const ends = await Promise.allSettled(members.map((member) => member.run().finally(shutdown)));
  const broken = ends.find((end) => end.status === 'rejected');
  if (broken) throw broken.reason;
}
