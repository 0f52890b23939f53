import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { JOBS as REAL_JOBS } from '../../activities/jobs/index.ts';
import type { Job, Jobs } from '../../activities/trainer-protocol.ts';
import { openChosenBackend } from '../../workers/backend.ts';
import { type HeldAt, type HoldPoint, heldFile, momentsFile, planFile, releaseFile } from './hold-points.ts';
import { KILLED_BACKEND } from './killed-backend.ts';

/**
 * softflow's own job bodies on softflow's own backend, which stop dead at chosen moments until they are killed or let go:
 * so a kill hits where it is meant to, between two layers of a pass or two decode steps, however fast the machine is.
 * A moment is a sign of life of the job; how many a job has had is noted at its end.
 */
const FOLDER = process.env['HOLD_FOLDER'] as string;

export const { fingerprint: FINGERPRINT } = await openChosenBackend(KILLED_BACKEND, () => {});

export const JOBS: Jobs = Object.fromEntries(Object.entries(REAL_JOBS).map(([step, job]) => [step, holding(job)]));

function holding(job: Job): Job {
  return async (input, context) => {
    let next = nextPoint(input.key);
    let position = 'start';
    let moment = 0;
    let done = 0;
    /** The first sign of life comes before the work of a tile, but after the first layer of a micro-batch. */
    let inside = false;
    const result = await job(input, {
      ...context,
      alive: () => {
        moment++;
        const here = next && moment >= next.moment && (next.position ?? position) === position;
        if (next && here && (inside || next.atBorder)) {
          hold(next.index, { position, moment, inside, done });
          next = undefined;
        }
        inside = true;
        context.alive();
      },
      progress: (progress) => {
        ({ position, done } = progress);
        inside = input.step === 'trainEpoch';
        context.progress(progress);
      },
    });
    appendFileSync(momentsFile(FOLDER), `${JSON.stringify({ key: input.key, moments: moment })}\n`);
    return result;
  };
}

function nextPoint(key: string): (HoldPoint & { index: number }) | undefined {
  const plan = JSON.parse(readFileSync(planFile(FOLDER), 'utf8')) as HoldPoint[];
  const index = plan.findIndex((point, i) => point.key === key && !existsSync(heldFile(FOLDER, i)));
  return index < 0 ? undefined : { ...(plan[index] as HoldPoint), index };
}

/** The event loop stands still too, as in a long tensor operation. */
function hold(index: number, at: Omit<HeldAt, 'pid'>): void {
  writeFileSync(heldFile(FOLDER, index), `${JSON.stringify({ ...at, pid: process.pid })}\n`);
  const clock = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(releaseFile(FOLDER, index))) Atomics.wait(clock, 0, 0, 5);
}
