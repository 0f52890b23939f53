import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { endOf, startRun } from '../support/load.ts';
import { rssBytes } from '../support/process-figures.ts';
import { type Slope, slopeOf } from '../support/slope.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { WorkerProcess } from '../support/worker-process.ts';

/** `npm run faults -- --full --rows R16 --minutes 30`. */
const MINUTES = Number(process.env['SOFTFLOW_SOAK_MINUTES'] ?? 60);
/** Where every sample goes as a JSON line, for a plot or when the soak is cut short. */
const SAMPLES = process.env['SOFTFLOW_SOAK_SAMPLES'];
/** A run is begun so often, so that the worker has work and the machine has room. */
const PACE_MS = 3000;
const SAMPLE_MS = 5000;
/** Caches fill first: of workflows, of compiled code. */
const WARM_UP = 1 / 3;
const ALLOWED_MIB_AN_HOUR = 1;

const folder = mkdtempSync(join(tmpdir(), 'softflow-soak-'));
let server: TestServer;
let worker: WorkerProcess;

beforeAll(async () => {
  server = await startTestServer({ database: join(folder, 'temporal.db') });
  const options = { queues: QUEUE_KINDS, log: join(folder, 'worker.log') };
  worker = new WorkerProcess(server, join(folder, 'store'), 'soak', {}, undefined, options);
});
afterAll(async () => {
  await worker?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Begins runs one after another until the time is over, and waits for their ends. */
async function work(deadline: number): Promise<number> {
  const open = new Set<Promise<unknown>>();
  let begun = 0;
  while (Date.now() < deadline) {
    const run = startRun(server, 'soak', begun++).then(endOf);
    const done = run.finally(() => open.delete(done));
    open.add(done);
    await Promise.all([sleep(PACE_MS), ...(open.size > 4 ? [Promise.race(open)] : [])]);
  }
  await Promise.all(open);
  return begun;
}

test(
  `Memory of worker and trainer does not grow in ${MINUTES} minutes of work (R16)`,
  async (context) => {
    const began = Date.now();
    const samples: { hours: number; worker: number; trainer: number }[] = [];
    const { pid } = worker.process;
    let trainer: number | undefined;
    const sampling = setInterval(() => {
      if (trainer === undefined) return;
      const hours = (Date.now() - began) / 3_600_000;
      const sample = { hours, worker: mib(rssBytes(pid as number)), trainer: mib(rssBytes(trainer)) };
      samples.push(sample);
      if (SAMPLES) appendFileSync(SAMPLES, `${JSON.stringify(sample)}\n`);
    }, SAMPLE_MS);
    const working = work(began + MINUTES * 60_000);
    trainer = (await worker.trainer(300)).pid;
    const runs = await working.finally(() => clearInterval(sampling));
    const settled = samples.filter(({ hours }) => hours > (MINUTES / 60) * WARM_UP);
    const growth = {
      worker: slopeOf(settled.map(({ hours, worker: rss }) => [hours, rss])),
      trainer: slopeOf(settled.map(({ hours, trainer: rss }) => [hours, rss])),
    };
    const inWords = (name: 'worker' | 'trainer') =>
      `${name} ${samples[0]?.[name].toFixed(0)} -> ${settled[0]?.[name].toFixed(0)} -> ${samples.at(-1)?.[name].toFixed(0)} MiB, ` +
      `slope ${growth[name].slope.toFixed(1)} +- ${growth[name].error.toFixed(1)} MiB/h`;
    faultFigure(context, 1, `${runs} runs in ${MINUTES} minutes: ${inWords('worker')}; ${inWords('trainer')}`);
    for (const name of ['worker', 'trainer'] as const)
      expect(leastGrowth(growth[name])).toBeLessThan(ALLOWED_MIB_AN_HOUR);
  },
  (MINUTES + 15) * 60_000,
);

const mib = (bytes: number) => bytes / 2 ** 20;

/** Growth that the samples leave no doubt about: memory of a process that collects garbage goes up and down by itself. */
const leastGrowth = ({ slope, error }: Slope) => slope - 2 * error;
