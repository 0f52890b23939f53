import { readdirSync, readFileSync } from 'node:fs';

/**
 * Seconds that this process's threads have waited for a core while they had work to do; undefined where the system does
 * not tell. Linux counts them for each thread.
 */
export function waitedSeconds(): number | undefined {
  try {
    return readdirSync('/proc/self/task').reduce((sum, task) => sum + waitOf(task), 0) / 1e9;
  } catch {
    return undefined;
  }
}

/** A thread may end while it is looked at. */
function waitOf(task: string): number {
  try {
    return Number(readFileSync(`/proc/self/task/${task}/schedstat`, 'utf8').split(' ')[1] ?? 0);
  } catch {
    return 0;
  }
}
