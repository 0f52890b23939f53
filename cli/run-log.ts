import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import type { LogLine } from '../workers/log-lines.ts';

/** Which lines are wanted. */
export interface LogFilter {
  run: string;
  /** Key of one step of the run, or the name of an activity. */
  step?: string;
}

const PIECE_BYTES = 1 << 20;

/** Reads the logs of the workers of a folder, again and again, each time what has been added. */
export class RunLog {
  readonly #folder: string;
  readonly #filter: LogFilter;
  readonly #read = new Map<string, { offset: number; rest: string; decoder: StringDecoder }>();

  constructor(folder: string, filter: LogFilter) {
    this.#folder = folder;
    this.#filter = filter;
  }

  /** New lines of the run, by time. */
  next(): LogLine[] {
    const lines = this.#files().flatMap((file) => this.#added(file));
    return lines.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  }

  #files(): string[] {
    if (!existsSync(this.#folder)) return [];
    return readdirSync(this.#folder)
      .filter((name) => name.startsWith('worker-') && name.endsWith('.log'))
      .sort();
  }

  #added(name: string): LogLine[] {
    const at = this.#read.get(name) ?? { offset: 0, rest: '', decoder: new StringDecoder('utf8') };
    const found: LogLine[] = [];
    const file = openSync(join(this.#folder, name), 'r');
    try {
      const piece = Buffer.alloc(PIECE_BYTES);
      const end = fstatSync(file).size;
      while (at.offset < end) {
        const bytes = readSync(file, piece, 0, Math.min(piece.length, end - at.offset), at.offset);
        at.offset += bytes;
        const lines = (at.rest + at.decoder.write(piece.subarray(0, bytes))).split('\n');
        at.rest = lines.pop() ?? '';
        found.push(...lines.flatMap((line) => parse(line)).filter((line) => isWanted(line, this.#filter)));
      }
    } finally {
      closeSync(file);
    }
    this.#read.set(name, at);
    return found;
  }
}

/** Other lines, such as the last words of a process that crashed, belong to no run. */
function parse(line: string): LogLine[] {
  if (!line.startsWith('{')) return [];
  try {
    const value = JSON.parse(line) as Partial<LogLine>;
    return typeof value.time === 'string' && typeof value.message === 'string' ? [value as LogLine] : [];
  } catch {
    return [];
  }
}

function isWanted(line: LogLine, { run, step }: LogFilter): boolean {
  return line.run === run && (step === undefined || line.key === step || line.step === step);
}
