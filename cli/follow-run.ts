import { hasEnded, type RunPhase } from '../workflows/run-state.ts';
import { eventLine, eventsBetween, type LiveRun, progressEvents, renderRun } from './live-view.ts';
import { openRedraw } from './redraw.ts';
import type { Terminal } from './terminal.ts';

export interface FollowOptions {
  /** One JSON event a line instead of text. */
  json?: boolean;
  /** Where it is shown; by default on the terminal, as the only run. */
  show?: Show<LiveRun>;
  /** Aborted to stop following; the run is not touched. */
  signal?: AbortSignal;
  pollMs?: number;
  /** Least time between two progress lines where nothing can be redrawn. */
  progressEveryMs?: number;
  /** How long the server may be silent before following fails. */
  silenceMs?: number;
  /** How long trouble must last before it is shown: a worker that is just being started is none. */
  noticeAfterMs?: number;
}

const TRANSIENT_NOTICE = 'The server does not answer; the run may go on without it. Trying again ...';

/** What can be followed: it has a phase, and perhaps trouble to tell of. */
export interface Followed {
  status: { phase: RunPhase };
  notice?: string;
}

export interface Show<T> {
  update(now: T): void;
  end(): void;
}

/** `follow` for a run. */
export function followRun(
  look: () => Promise<LiveRun>,
  terminal: Terminal,
  options: FollowOptions = {},
): Promise<LiveRun | undefined> {
  const alone = () =>
    terminal.interactive && !options.json
      ? redrawing(terminal, (run: LiveRun) => renderRun(run, terminal.columns, terminal.paint))
      : openLog(terminal, options);
  return follow(look, options.show ?? alone(), options);
}

/**
 * Shows something until it ends or `signal` is aborted, and returns the last look at it (undefined when aborted before
 * the first). A server that is restarted meanwhile is waited for.
 */
export async function follow<T extends Followed>(
  look: () => Promise<T>,
  show: Show<T>,
  options: Omit<FollowOptions, 'show'> = {},
): Promise<T | undefined> {
  const { pollMs = 1000, silenceMs = 600_000, noticeAfterMs = 8000, signal } = options;
  const settle = lastingNotices<T>(noticeAfterMs);
  let last: T | undefined;
  let answeredAt = Date.now();
  try {
    while (!signal?.aborted) {
      try {
        last = settle(await look());
        answeredAt = Date.now();
      } catch (error) {
        if (!isTransient(error) || Date.now() - answeredAt > silenceMs) throw error;
        if (last) last = { ...last, notice: TRANSIENT_NOTICE };
      }
      if (last) show.update(last);
      if (last && hasEnded(last.status)) return last;
      await sleep(pollMs, signal);
    }
    return last;
  } finally {
    show.end();
  }
}

/** Leaves trouble out until it has lasted. */
function lastingNotices<T extends Followed>(afterMs: number): (now: T) => T {
  let since: number | undefined;
  return (now) => {
    const { notice, ...rest } = now;
    since = notice === undefined ? undefined : (since ?? Date.now());
    return since !== undefined && Date.now() - since < afterMs ? (rest as T) : now;
  };
}

/** A bad request stays bad; anything the connection says, itself or as the cause of a call that failed, may pass. */
function isTransient(error: unknown): boolean {
  const { retryable, code, cause } = error as { retryable?: boolean; code?: unknown; cause?: unknown };
  return retryable === true || typeof code === 'number' || (cause instanceof Error && isTransient(cause));
}

/** For an interactive terminal: the same lines again and again. */
export function redrawing<T extends Followed>(terminal: Terminal, render: (now: T) => string[]): Show<T> {
  const redraw = openRedraw(terminal);
  const hint = terminal.paint.dim('  Ctrl-C detaches; the run goes on.');
  return {
    update: (now) => redraw.draw([...render(now), ...(hasEnded(now.status) ? [] : [hint])]),
    end: () => redraw.end(),
  };
}

/** Lines of a log, or with `json` an event a line, which names its run. */
export function openLog(
  terminal: Terminal,
  { json = false, progressEveryMs = json ? 1000 : 10_000 }: Pick<FollowOptions, 'json' | 'progressEveryMs'>,
): Show<LiveRun> {
  let last: LiveRun | undefined;
  let lastProgress: LiveRun | undefined;
  let progressAt = 0;
  return {
    update(run) {
      const events = eventsBetween(last, run);
      last = run;
      if (Date.now() - progressAt >= progressEveryMs) {
        const moved = progressEvents(lastProgress, run);
        if (moved.length) progressAt = Date.now();
        lastProgress = run;
        events.push(...moved);
      }
      for (const event of events)
        terminal.out(json ? JSON.stringify({ ...event, runId: run.status.runId }) : eventLine(event));
    },
    end() {},
  };
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}
