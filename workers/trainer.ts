import { setImmediate } from 'node:timers/promises';
import { toFault } from '../activities/faults.ts';
import {
  DrainedError,
  type FromTrainer,
  type JobContext,
  type Jobs,
  type ToTrainer,
  ToTrainerSchema,
} from '../activities/trainer-protocol.ts';
import { openStore } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { knownDeviceError } from '../model/device-memory.ts';
import { TrainerSettingsSchema } from './trainer-settings.ts';

type Submitted = Extract<ToTrainer, { type: 'job' }>;

/**
 * The trainer process: holds the tensor library, weights and tokenizer from job to job, one job at a time. Its worker
 * speaks to it over the channel of its parent process; when that closes, or at SIGTERM, it ends at the next border.
 */
async function main(): Promise<void> {
  const inbox = openInbox();
  const opening = open(TrainerSettingsSchema.parse(JSON.parse(process.argv[2] ?? '{}')));
  opening.catch(() => {});
  for await (const job of inbox.jobs()) await send(await answer(opening, job, () => inbox.draining(job.id)));
  process.exit(0);
}

/** Jobs in the order in which they come, and whether the one at work is to end early. */
function openInbox() {
  const waiting: Submitted[] = [];
  const drained = new Set<string>();
  let ending = false;
  let wake = () => {};
  const end = () => {
    ending = true;
    wake();
  };
  process.on('disconnect', end);
  process.on('SIGTERM', end);
  // A terminal's Ctrl-C reaches the whole process group; the worker decides what it means.
  process.on('SIGINT', () => {});
  process.on('message', (raw) => {
    const message = ToTrainerSchema.parse(raw);
    if (message.type === 'drain') drained.add(message.id);
    else waiting.push(message);
    wake();
  });
  async function* jobs() {
    while (!ending) {
      const next = waiting.shift();
      if (next) yield next;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }
  return { jobs, draining: (id: string) => ending || drained.has(id) };
}

type Settings = ReturnType<typeof TrainerSettingsSchema.parse>;

async function open(settings: Settings) {
  const store = await openStore(settings.storeRoot);
  const { jobs, name, fingerprint } = settings.jobsModule
    ? await openModule(settings.jobsModule)
    : await openTensors(settings);
  await send({ type: 'ready', backend: name, fingerprint });
  return { jobs, base: { store, fingerprint } };
}

interface Opened {
  jobs: Jobs;
  name: string;
  fingerprint: Record<string, string>;
}

/** Job bodies of somebody else's, with a fingerprint of their own. */
async function openModule(url: string): Promise<Opened> {
  const { JOBS, FINGERPRINT } = (await import(url)) as { JOBS: Jobs; FINGERPRINT: Record<string, string> };
  return { jobs: JOBS, name: url, fingerprint: FINGERPRINT };
}

async function openTensors({ backend: choice, maxVramBytes }: Settings): Promise<Opened> {
  const { openChosenBackend } = await import('./backend.ts');
  const { JOBS } = await import('../activities/jobs/index.ts');
  const say = (message: string) => void process.stderr.write(`${message}\n`);
  const bound = maxVramBytes === undefined ? {} : { maxVramBytes };
  const { name, fingerprint } = await openChosenBackend(choice, say, bound);
  const onGpu = name === 'webgpu' || fingerprint['device'] === 'gpu';
  if (maxVramBytes !== undefined && !onGpu) say('--max-vram bounds the memory of a GPU; here the processor computes.');
  return { jobs: JOBS, name, fingerprint };
}

function liveness(id: string): Pick<JobContext, 'progress' | 'alive' | 'saved' | 'breathe'> {
  return {
    progress: (progress) => void send({ type: 'progress', id, progress }),
    alive: () => void send({ type: 'alive', id }),
    saved: (checkpoint) => void send({ type: 'saved', id, ...checkpoint }),
    breathe: () => setImmediate(),
  };
}

async function answer(
  opening: ReturnType<typeof open>,
  { id, input, model }: Submitted,
  draining: () => boolean,
): Promise<FromTrainer> {
  try {
    const { jobs, base } = await opening;
    const job = jobs[input.step];
    if (!job) throw new SoftflowError('STEP_UNKNOWN', `The trainer has no job for step ${input.step}.`);
    return {
      type: 'done',
      id,
      result: await job(input, { ...base, modelFiles: async () => model, ...liveness(id), draining }),
    };
  } catch (error) {
    if (error instanceof DrainedError) return { type: 'drained', id, position: error.position };
    return { type: 'failed', id, ...toFault(knownDeviceError(error)) };
  }
}

/** A worker that is gone hears nothing; its end has been noticed elsewhere. */
function send(message: FromTrainer): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected) return resolve();
    process.send?.(message, undefined, undefined, () => resolve());
  });
}

await main();
