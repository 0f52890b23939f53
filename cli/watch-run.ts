import type { RunLook } from '../client/runs.ts';
import type { RunStatus } from '../workflows/run-state.ts';
import { EXIT } from './exit-codes.ts';
import { followRun } from './follow-run.ts';
import { exitCodeOfRun, printEnd } from './run-end.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';

const ENDED = new Set<RunStatus['phase']>(['completed', 'failed', 'stopped', 'cancelled']);

export const ended = ({ phase }: RunStatus): boolean => ENDED.has(phase);

/** Whether the server knows the run; else what is shown is the store's memory of it. */
export const isAlive = ({ elapsedSeconds }: RunLook): boolean => elapsedSeconds !== undefined;

/** The run's folder, brought up to date from the store. */
export async function writeView({ store, runsFolder }: Session, runId: string): Promise<string> {
  const { writeRunView } = await import('../client/run-view.ts');
  return writeRunView(store, runId, runsFolder);
}

/** Shows a run until its end, or until Ctrl-C: then it says how to watch and to stop it, and the run goes on. */
export async function watchRun(
  session: Session,
  runId: string,
  options: { json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const abort = new AbortController();
  const detach = () => abort.abort();
  process.once('SIGINT', detach);
  try {
    const last = await followRun(() => session.runs.look(runId), terminal, { ...options, signal: abort.signal });
    if (!last || !ended(last.status)) return detached(runId, options, terminal);
    const folder = await writeView(session, runId);
    if (options.json) terminal.out(JSON.stringify({ event: 'end', runId, phase: last.status.phase, folder }));
    else printEnd(last.status, { folder, ...(await recipeOf(session, runId)) }, terminal);
    return exitCodeOfRun(last.status);
  } finally {
    process.off('SIGINT', detach);
  }
}

async function recipeOf({ store }: Session, runId: string): Promise<{ recipe?: string }> {
  const start = (await store.readRunRecord(runId, 'start'))?.value as { recipe?: string } | undefined;
  return start?.recipe === undefined ? {} : { recipe: start.recipe };
}

function detached(runId: string, { json }: { json?: boolean }, terminal: Terminal): number {
  if (json) terminal.out(JSON.stringify({ event: 'detached', runId }));
  terminal.err('');
  terminal.err(`Detached; ${runId} goes on.`);
  terminal.err(howToReach(runId));
  return EXIT.detached;
}

export const howToReach = (runId: string): string =>
  `  watch it   softflow watch ${runId}\n  pause it   softflow pause ${runId}\n  stop it    softflow stop ${runId}`;
