import { relative } from 'node:path';
import { settingsText } from '../client/sweep-ranking.ts';
import type { SweepLook } from '../client/sweeps.ts';
import type { SweepStatus } from '../workflows/sweep-state.ts';
import { EXIT } from './exit-codes.ts';
import { type FollowOptions, follow, redrawing, type Show } from './follow-run.ts';
import { formatNumber } from './format.ts';
import type { Session } from './session.ts';
import { renderSweep, sweepEventLine, sweepEvents } from './sweep-view.ts';
import { oneLine, sanitize, type Terminal } from './terminal.ts';
import { howToReach, writeView } from './watch-run.ts';

/** Shows a sweep's ranking until its end, or until Ctrl-C: then it says how to watch and to stop it, and the sweep goes on. */
export async function watchSweep(
  session: Session,
  sweepId: string,
  options: { json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const abort = new AbortController();
  const detach = () => abort.abort();
  process.once('SIGINT', detach);
  try {
    const last = await follow(() => lookAt(session, sweepId), showOf(terminal, options), { signal: abort.signal });
    if (!last || abort.signal.aborted) return detached(sweepId, options, terminal);
    return await ended(session, last.status, options, terminal);
  } finally {
    process.off('SIGINT', detach);
  }
}

/** A server that did not answer may be elsewhere the next time. */
async function lookAt(session: Session, sweepId: string): Promise<SweepLook> {
  try {
    return await (await session.sweeps()).look(sweepId);
  } catch (error) {
    await session.reconnect().catch(() => {});
    throw error;
  }
}

function showOf(terminal: Terminal, { json = false }: FollowOptions): Show<SweepLook> {
  if (terminal.interactive && !json)
    return redrawing(terminal, (look: SweepLook) => renderSweep(look, terminal.columns, terminal.paint));
  let before: SweepLook | undefined;
  return {
    update(now) {
      for (const event of sweepEvents(before, now)) terminal.out(json ? JSON.stringify(event) : sweepEventLine(event));
      before = now;
    },
    end() {},
  };
}

async function ended(
  session: Session,
  status: SweepStatus,
  { json }: { json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const { sweepId, phase, best, error } = status;
  const folder = best === null ? undefined : await writeView(session, best);
  if (json) terminal.out(JSON.stringify({ event: 'end', sweepId, phase, best, ...(folder ? { folder } : {}) }));
  else if (best !== null && folder !== undefined) printBest(status, folder, terminal);
  if (!json && error)
    terminal.err(`${terminal.paint.red('error')} ${sanitize(error.code)}: ${sanitize(error.message)}`);
  if (phase === 'completed') return EXIT.ok;
  if (!json) terminal.err(`${sweepId}: ${phase}. Everything done so far is kept. Next: softflow resume ${sweepId}`);
  return EXIT.failed;
}

/** The ranking's first, where its files lie, and what to do with it. */
export function printBest({ runs, best, metric, sweepId }: SweepStatus, folder: string, terminal: Terminal): void {
  const run = runs.find(({ runId }) => runId === best);
  if (!run || best === null) return;
  const value = run.value === null ? '' : `, ${metric} ${formatNumber(run.value)} on validation`;
  terminal.out(`Best of ${sweepId}: ${best} (${oneLine(settingsText(run.settings), 200)})${value}`);
  terminal.out(`Written: ${relative(process.cwd(), folder)}`);
  terminal.out(`Next: softflow promote ${best}`);
}

function detached(sweepId: string, { json }: { json?: boolean }, terminal: Terminal): number {
  if (json) terminal.out(JSON.stringify({ event: 'detached', sweepId }));
  terminal.err('');
  terminal.err(`Detached; ${sweepId} goes on.`);
  terminal.err(howToReach(sweepId));
  return EXIT.detached;
}
