import type { Command } from 'commander';
import type { Terminal } from './terminal.ts';

/** What a file that adds a group of commands to the program is given. */
export interface CommandGroup {
  program: Command;
  terminal: Terminal;
  /** A command with its summary and examples. */
  command(signature: string, summary: string, ...examples: string[]): Command;
  /** Makes an action of a function that returns an exit code. */
  run(action: (...args: never[]) => Promise<number>): (...args: unknown[]) => Promise<void>;
}
