import type { RunLook } from '../client/runs.ts';
import { hasEnded, type RunStatus } from '../workflows/run-state.ts';
import { detached, detachedRuns, untilCtrlC } from './detach.ts';
import { followRun, openLog, type Show } from './follow-run.ts';
import { type LiveRun, renderShort } from './live-view.ts';
import { openRedraw } from './redraw.ts';
import { exitCodeOfRun, printEnd } from './run-end.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';

/** Whether the server knows the run; else what is shown is the store's memory of it. */
export const isAlive = ({ elapsedSeconds }: Pick<RunLook, 'elapsedSeconds'>): boolean => elapsedSeconds !== undefined;

/** The run's folder, brought up to date from the store. */
export async function writeView(
  { store, runsFolder }: Pick<Session, 'store' | 'runsFolder'>,
  runId: string,
): Promise<string> {
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
  const last = await untilCtrlC((signal) => followRun(() => lookAt(session, runId), terminal, { ...options, signal }));
  if (!last || !hasEnded(last.status)) return detached({ runId }, options.json === true, terminal);
  const folder = await writeView(session, runId);
  if (options.json) terminal.out(endEvent(last.status, folder));
  else printEnd(last.status, { folder, ...(await recipeOf(session, runId)) }, terminal);
  return exitCodeOfRun(last.status);
}

const lookAt = (session: Session, runId: string): Promise<RunLook> => session.ask(() => session.runs.look(runId));

/** What the person ran, e.g. `recipes/demo.yaml`. */
export async function recipeOf({ store }: Pick<Session, 'store'>, runId: string): Promise<{ recipe?: string }> {
  const start = (await store.readRunRecord(runId, 'start'))?.value as { recipe?: string } | undefined;
  return start?.recipe === undefined ? {} : { recipe: start.recipe };
}

/** Shows several runs until all of them have ended, or until Ctrl-C. */
export async function watchRuns(
  session: Session,
  runIds: readonly string[],
  options: { json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const board = openBoard(runIds, options, terminal);
  return untilCtrlC(async (signal) => {
    const follow = (runId: string) =>
      followRun(() => lookAt(session, runId), terminal, { show: board.of(runId), signal });
    const looks = await Promise.all(runIds.map(follow));
    if (signal.aborted) return detachedRuns(runIds, options.json === true, terminal);
    for (const [i, look] of looks.entries()) {
      const folder = await writeView(session, runIds[i] as string);
      const { runId, phase } = (look as RunLook).status;
      if (options.json) terminal.out(endEvent((look as RunLook).status, folder));
      else if (phase !== 'completed') printEnd((look as RunLook).status, { folder }, terminal);
      else terminal.out(`${runId}: completed. Next: softflow report ${runId}`);
    }
    return Math.max(...looks.map((look) => exitCodeOfRun((look as RunLook).status)));
  });
}

const endEvent = ({ runId, phase, lastStep }: RunStatus, folder: string): string =>
  JSON.stringify({ event: 'end', runId, phase, ...(lastStep ? { lastStep } : {}), folder });

/** Where several runs are shown: below each other and redrawn, or as lines that begin with the run. */
function openBoard(
  runIds: readonly string[],
  options: { json?: boolean },
  terminal: Terminal,
): { of(runId: string): Show<LiveRun> } {
  if (!terminal.interactive || options.json) {
    const named = (runId: string): Terminal => ({ ...terminal, out: (line) => terminal.out(`${runId}  ${line}`) });
    return { of: (runId) => openLog(options.json ? terminal : named(runId), options) };
  }
  const redraw = openRedraw(terminal);
  const looks = new Map<string, LiveRun>();
  const lines = () =>
    runIds.flatMap((runId) => {
      const look = looks.get(runId);
      return look ? renderShort(look, terminal.columns, terminal.paint) : [];
    });
  const hint = terminal.paint.dim('  Ctrl-C detaches; the runs go on.');
  const update = (look: LiveRun) => {
    looks.set(look.status.runId, look);
    redraw.draw([...lines(), hint]);
  };
  return { of: () => ({ update, end() {} }) };
}
