import { relative } from 'node:path';
import { settingsText } from '../client/sweep-ranking.ts';
import type { SweepLook } from '../client/sweeps.ts';
import type { SweepStatus } from '../workflows/sweep-state.ts';
import { detached, untilCtrlC } from './detach.ts';
import { EXIT } from './exit-codes.ts';
import { type FollowOptions, follow, redrawing, type Show } from './follow-run.ts';
import { formatNumber } from './format.ts';
import type { Session } from './session.ts';
import { renderSweep, sweepEventLine, sweepEvents } from './sweep-view.ts';
import { oneLine, sanitize, type Terminal } from './terminal.ts';
import { writeView } from './watch-run.ts';

/** Shows a sweep's ranking until its end, or until Ctrl-C: then it says how to watch and to stop it, and the sweep goes on. */
export async function watchSweep(
  session: Session,
  sweepId: string,
  options: { json?: boolean },
  terminal: Terminal,
): Promise<number> {
  return untilCtrlC(async (signal) => {
    const look = async (): Promise<SweepLook> => (await session.sweeps()).look(sweepId);
    const last = await follow(() => session.ask(look), showOf(terminal, options), { signal });
    if (!last || signal.aborted) return detached({ sweepId }, options.json === true, terminal);
    return ended(session, last.status, options, terminal);
  });
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
