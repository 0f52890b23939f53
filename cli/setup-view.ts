import type { SetupProgress } from '../setup/progress.ts';
import { formatBytes, progressBar } from './format.ts';
import { openRedraw } from './redraw.ts';
import { oneLine, sanitize, type Terminal } from './terminal.ts';

const EVERY_MS = 10_000;

export interface SetupView {
  onProgress: (progress: SetupProgress) => void;
  /** Removes the line in progress. */
  end(): void;
}

/**
 * Set-up as it happens: one line redrawn on a terminal; else a line per phase, and a download's share every ten seconds.
 * Plain lines go to stderr, so that `--json` stays clean. Notices (licences) are printed whole, once each.
 */
export function openSetupView(terminal: Terminal, now: () => number = Date.now): SetupView {
  const redraw = openRedraw(terminal);
  const notices = new Set<string>();
  let phase = '';
  let saidAt = 0;
  const say = (line: string) => (terminal.interactive ? redraw.keep(line) : terminal.err(line));
  return {
    onProgress(progress) {
      const key = `${progress.item} ${progress.phase}`;
      if (progress.phase === 'notice') {
        const text = sanitize(progress.message ?? '');
        if (!notices.has(text)) say(text);
        notices.add(text);
      } else if (terminal.interactive) {
        redraw.draw(progress.phase === 'ready' ? [] : [progressLine(progress, terminal.columns)]);
      } else if (progress.phase !== 'ready' && (key !== phase || now() - saidAt >= EVERY_MS)) {
        terminal.err(progressLine(progress, 200));
        saidAt = now();
      }
      phase = key;
    },
    end() {
      if (terminal.interactive) redraw.draw([]);
    },
  };
}

export function progressLine({ item, phase, bytes, totalBytes, message }: SetupProgress, columns: number): string {
  const head = `set-up: ${item}: ${phase}`;
  const share =
    bytes === undefined || !totalBytes
      ? ''
      : ` ${progressBar(bytes / totalBytes, 16)} ${amount(phase, bytes)} of ${amount(phase, totalBytes)}`;
  return oneLine(`${head}${share}${message ? ` ${message}` : ''}`, columns - 1);
}

/** A compiler counts files, everything else bytes. */
const amount = (phase: SetupProgress['phase'], count: number): string =>
  phase === 'compile' ? String(count) : formatBytes(count);
