import { type Command, Option } from 'commander';
import type { Terminal } from './terminal.ts';

/** An action returns the command's exit code. */
export type Action = (...args: never[]) => Promise<number>;

/** What a group of commands is registered with. */
export interface Registry {
  program: Command;
  terminal: Terminal;
  /** A command with its summary, and examples at the end of its help. */
  command(signature: string, summary: string, ...examples: string[]): Command;
  /** Makes an action of commander, which keeps the exit code. */
  run(action: Action): (...args: unknown[]) => Promise<void>;
}

export const collect = (value: string, all: string[]): string[] => [...all, value];
export const setOption = () =>
  new Option('-s, --set <key=value>', 'override one field of the recipe; may be given many times')
    .argParser(collect)
    .default([], 'none');
export const jsonOption = () => new Option('--json', 'machine-readable output');
