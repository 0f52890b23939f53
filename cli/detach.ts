import { EXIT } from './exit-codes.ts';
import type { Terminal } from './terminal.ts';

/** Does something that watches until it is done or Ctrl-C aborts the signal; what is watched goes on either way. */
export async function untilCtrlC<T>(watch: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const detach = () => abort.abort();
  process.once('SIGINT', detach);
  try {
    return await watch(abort.signal);
  } finally {
    abort.abort();
    process.off('SIGINT', detach);
  }
}

/** Says that a run or sweep goes on, and how to reach it. */
export function detached(id: { runId: string } | { sweepId: string }, json: boolean, terminal: Terminal): number {
  const name = 'runId' in id ? id.runId : id.sweepId;
  if (json) terminal.out(JSON.stringify({ event: 'detached', ...id }));
  terminal.err('');
  terminal.err(`Detached; ${name} goes on.`);
  terminal.err(howToReach(name));
  return EXIT.detached;
}

/** The same of several runs, an event each. */
export function detachedRuns(runIds: readonly string[], json: boolean, terminal: Terminal): number {
  if (json) for (const runId of runIds) terminal.out(JSON.stringify({ event: 'detached', runId }));
  terminal.err('');
  terminal.err(`Detached; ${runIds.join(', ')} go on.`);
  terminal.err(`  watch them   softflow watch ${runIds.join(' ')}`);
  return EXIT.detached;
}

export const howToReach = (id: string): string =>
  `  watch it   softflow watch ${id}\n  pause it   softflow pause ${id}\n  stop it    softflow stop ${id}`;
