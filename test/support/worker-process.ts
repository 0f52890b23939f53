import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { identify, isRunning, type ProcessIdentity } from '../../workers/process-identity.ts';
import type { SoftflowWorkerOptions } from '../../workers/worker.ts';
import { STUB_JOBS } from './soft-run.ts';
import type { TestServer } from './temporal.ts';
import { until } from './until.ts';

const SCRIPT = fileURLToPath(new URL('../../workers/worker-process.ts', import.meta.url));

/** A worker of the cpu and gpu queues, or of those given, in a process of its own, to be killed. */
export class WorkerProcess {
  readonly process: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;

  constructor(
    server: TestServer,
    storeRoot: string,
    taskQueue: string,
    env: Record<string, string> = {},
    jobsModule = STUB_JOBS,
    { queues = ['cpu', 'gpu'], log }: { queues?: SoftflowWorkerOptions['queues']; log?: string } = {},
  ) {
    const options: SoftflowWorkerOptions = {
      target: server.target,
      queues,
      taskQueue,
      storeRoot,
      jobsModule,
    };
    this.process = spawn(process.execPath, [SCRIPT, JSON.stringify(options)], {
      env: { ...process.env, ...env },
      stdio: log === undefined ? 'ignore' : ['ignore', openSync(log, 'a'), openSync(log, 'a')],
    });
    this.exited = new Promise((resolve) => {
      this.process.on('exit', (code, signal) => resolve({ code, signal }));
    });
  }

  /** The trainer that this worker has started; waits for it. */
  async trainer(seconds = 30): Promise<ProcessIdentity> {
    let found: ProcessIdentity | undefined;
    await until(() => {
      found = this.children()[0];
      return found !== undefined;
    }, seconds);
    return found as ProcessIdentity;
  }

  async stop(): Promise<void> {
    this.process.kill('SIGTERM');
    await this.exited;
  }

  /** What runs under it; nothing once it has ended. */
  children(): ProcessIdentity[] {
    const { pid, exitCode, signalCode } = this.process;
    if (exitCode !== null || signalCode !== null) return [];
    const ids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    return ids.flatMap((id) => identify(Number(id)) ?? []);
  }
}

export async function gone(identity: ProcessIdentity, seconds = 10): Promise<void> {
  await until(() => !isRunning(identity), seconds);
}
