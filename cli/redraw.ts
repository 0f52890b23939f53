import type { Terminal } from './terminal.ts';

export interface Redraw {
  /** Replaces what was drawn before by these lines. */
  draw(lines: readonly string[]): void;
  /** Prints a line that stays, above what is redrawn. */
  keep(line: string): void;
  /** Leaves the last drawing in place. */
  end(): void;
}

/** Redraws a few lines in place; only for an interactive terminal. */
export function openRedraw(terminal: Terminal): Redraw {
  let drawn: readonly string[] = [];
  const clear = (): string => (drawn.length ? `\u001b[${drawn.length}A\u001b[0J` : '');
  const write = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');
  return {
    draw(lines) {
      terminal.raw(clear() + write(lines));
      drawn = lines;
    },
    keep(line) {
      terminal.raw(`${clear()}${line}\n${write(drawn)}`);
    },
    end() {
      drawn = [];
    },
  };
}
