import type { Progress } from '../activities/contracts.ts';
import { formatNumber, formatSeconds, progressBar } from './format.ts';
import { openRedraw } from './redraw.ts';
import { oneLine, type Terminal } from './terminal.ts';

const EVERY_MS = 10_000;

export interface JobView {
  onProgress: (progress: Progress) => void;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  end(): void;
}

/** A job in the foreground: one line redrawn on a terminal, else one every ten seconds on stderr; Ctrl-C ends it. */
export function openJobView(terminal: Terminal, { json }: { json?: boolean }): JobView {
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once('SIGINT', stop);
  const redraw = terminal.interactive && !json ? openRedraw(terminal) : undefined;
  let saidAt = Date.now();
  return {
    onProgress(progress) {
      if (redraw) redraw.draw([jobLine(progress, terminal.columns - 1)]);
      else if (Date.now() - saidAt >= EVERY_MS) {
        terminal.err(jobLine(progress, 200));
        saidAt = Date.now();
      }
    },
    signal: abort.signal,
    end() {
      process.off('SIGINT', stop);
      redraw?.draw([]);
    },
  };
}

export function jobLine({ position, done, total, unit, rate, secondsLeft }: Progress, columns: number): string {
  const parts = [
    `${progressBar(total === 0 ? 0 : done / total, 20)} ${done} of ${total} ${unit}`,
    position,
    ...(rate === undefined ? [] : [`${formatNumber(rate)} ${unit}/s`]),
    ...(secondsLeft === undefined ? [] : [`${formatSeconds(secondsLeft)} left`]),
  ];
  return oneLine(parts.join('  '), columns);
}
