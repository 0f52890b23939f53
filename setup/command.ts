import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit status; undefined when the program could not be started or was killed by a signal. */
  status: number | undefined;
  stdout: string;
  stderr: string;
  /** The program does not exist. */
  missing: boolean;
}

/** Runs a program to its end, never through a shell. Does not throw: the caller knows what a failure means. */
export function runCommand(
  program: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      resolve({ status: undefined, stdout, stderr: error.message, missing: error.code === 'ENOENT' });
    });
    child.on('close', (status) => resolve({ status: status ?? undefined, stdout, stderr, missing: false }));
  });
}

/** The last lines of a program's output, for an error message. */
export function lastLines(text: string, count = 12): string {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
