import { appendFileSync } from 'node:fs';
import { JOBS as REAL_JOBS } from '../activities/jobs/index.ts';
import type { Job, Jobs } from '../activities/trainer-protocol.ts';
import { openChosenBackend } from '../workers/backend.ts';

/** When a trainer told of its progress. */
export interface Moment {
  /** Milliseconds since 1970: of this line, and of the start of the trainer's process. */
  at: number;
  started: number;
  pid: number;
  key: string;
  step: string;
  done: number;
}

export const MOMENTS_FILE = 'SOFTFLOW_BENCH_MOMENTS';

/** softflow's own job bodies on its own backend; each progress is noted with the time, to be read by another process. */
export const { fingerprint: FINGERPRINT } = await openChosenBackend('tensorflow', () => {});
export const JOBS: Jobs = Object.fromEntries(Object.entries(REAL_JOBS).map(([step, job]) => [step, timed(job)]));

function timed(job: Job): Job {
  return (input, context) =>
    job(input, {
      ...context,
      progress: (progress) => {
        const { step, done } = progress;
        const at = Date.now();
        const moment: Moment = {
          at,
          started: at - process.uptime() * 1000,
          pid: process.pid,
          key: input.key,
          step,
          done,
        };
        appendFileSync(process.env[MOMENTS_FILE] as string, `${JSON.stringify(moment)}\n`);
        context.progress(progress);
      },
    });
}
