import type { Interval } from './bootstrap.ts';

/** A rate between 0 and 1 to four places, without the leading zero of tables: .0156, 1.0000. */
export const rate = (value: number): string => value.toFixed(4).replace(/^0\./, '.');

/** A difference of rates to three places, with its sign: +.016, -.003. */
export function signed(value: number): string {
  const text = Math.abs(value).toFixed(3).replace(/^0\./, '.');
  if (Number(text) === 0) return text;
  return `${value < 0 ? '-' : '+'}${text}`;
}

export const percent = (value: number): string => `${Math.round(value * 100)} %`;
/** Model FLOP utilisation, as the field writes it: 0.72. */
export const utilisation = (mfu: number): string => mfu.toFixed(2);
export const interval = ({ low, high }: Interval): string => `[${rate(low)}, ${rate(high)}]`;
export const integer = (value: number): string => Math.round(value).toLocaleString('en-US');

/** Figures of any size to `digits` significant digits, never in exponent form below a million. */
export function significant(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

/** 42 s, 3 min 20 s, 2 h 05 min. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const pad = (value: number) => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

export function bytes(size: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = size;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Titles and generated texts come from outside: no control characters, no bidirectional overrides, one line. */
export function plain(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\p{Cc}\p{Bidi_Control}\ufeff]/gu, '\ufffd');
}

/** The text cut to `width` code points, with an ellipsis in place of what was cut. */
export function shorten(text: string, width: number): string {
  const points = [...text];
  return points.length <= width ? text : `${points.slice(0, Math.max(0, width - 1)).join('')}…`;
}

/** Rows of cells as lines of text, every column as wide as its widest cell. */
export function align(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
