import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import * as z from 'zod';

/** A process for good: ids are given again to other processes, with another start. */
export const ProcessIdentitySchema = z.strictObject({ pid: z.int().positive(), started: z.string() });
export type ProcessIdentity = z.infer<typeof ProcessIdentitySchema>;

/** The identity of a process that runs now; undefined when there is none (a zombie is none). */
export function identify(pid: number): ProcessIdentity | undefined {
  const started = process.platform === 'linux' ? startOnLinux(pid) : startByPs(pid);
  return started === undefined ? undefined : { pid, started };
}

/** Whether the very process is still running. */
export function isRunning(identity: ProcessIdentity | undefined): boolean {
  return identity !== undefined && identify(identity.pid)?.started === identity.started;
}

/** Sends a signal to this process and to no other. */
export function signalProcess(identity: ProcessIdentity | undefined, signal: NodeJS.Signals): void {
  if (!identity || !isRunning(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Start in clock ticks since boot, with the boot's own id. */
function startOnLinux(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold anything, so fields are counted from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : `${boot}/${fields[19]}`;
  } catch {
    return undefined;
  }
}

function startByPs(pid: number): string | undefined {
  const { status, stdout } = spawnSync('ps', ['-o', 'state=,lstart=', '-p', String(pid)], { encoding: 'utf8' });
  const text = stdout?.trim() ?? '';
  return status !== 0 || text === '' || text.startsWith('Z') ? undefined : text.replace(/^\S+\s+/, '');
}
