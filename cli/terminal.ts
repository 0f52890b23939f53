/** Where a command writes: results on `out`, everything about the command itself on `err`. */
export interface Terminal {
  out(line: string): void;
  err(line: string): void;
  /** Text as it is, without a newline: for redrawing. */
  raw(text: string): void;
  /** Whether `out` is a terminal that can be redrawn. */
  interactive: boolean;
  columns: number;
  paint: Paint;
}

export type Paint = Record<'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan', (text: string) => string>;

const CODES: Record<keyof Paint, [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  green: [32, 39],
  red: [31, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

export function paintFor(color: boolean): Paint {
  const entries = Object.entries(CODES).map(([name, [on, off]]) => [
    name,
    color ? (text: string) => `\u001b[${on}m${text}\u001b[${off}m` : (text: string) => text,
  ]);
  return Object.fromEntries(entries) as Paint;
}

interface Stream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface TerminalOptions {
  stdout?: Stream;
  stderr?: Stream;
  env?: Record<string, string | undefined>;
}

/** Colour and redrawing only on a terminal; none with `NO_COLOR` (any value but empty) or `TERM=dumb`. */
export function openTerminal(options: TerminalOptions = {}): Terminal {
  const { stdout = process.stdout, stderr = process.stderr, env = process.env } = options;
  const interactive = stdout.isTTY === true && env['TERM'] !== 'dumb';
  return {
    out: (line) => void stdout.write(`${visible(line)}\n`),
    err: (line) => void stderr.write(`${visible(line)}\n`),
    raw: (text) => void stdout.write(text),
    interactive,
    get columns() {
      // A terminal without a size says 0.
      return stdout.columns || 100;
    },
    paint: paintFor(interactive && !env['NO_COLOR']),
  };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose.
const ESCAPE_SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;
/** Control characters but tab and newline, separators of lines, and what reverses the reading direction. */
const CONTROLS = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
const ESCAPE = '\u001b';
const COLOUR = /^\[[0-9;]*m/;

/**
 * The last line of defence: what a command forgot to sanitise is shown as `\u009b` and does nothing; colours pass. In JSON that
 * is the same text, spelt otherwise.
 */
export function visible(line: string): string {
  return line.replace(CONTROLS, (character, at: number) =>
    character === ESCAPE && COLOUR.test(line.slice(at + 1, at + 20))
      ? character
      : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * Text from data, models or servers made safe to print: no escape sequences, no control characters but tab and newline,
 * nothing that reverses the reading direction.
 */
export function sanitize(text: string): string {
  return text.replace(ESCAPE_SEQUENCES, '').replace(CONTROLS, '');
}

/** Sanitised and on one line of at most `width` characters. */
export function oneLine(text: string, width: number): string {
  const line = sanitize(text).replace(/\s+/g, ' ').trim();
  return line.length > width ? `${line.slice(0, Math.max(width - 1, 0))}…` : line;
}
