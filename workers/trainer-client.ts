import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelFiles, Progress, StepInput } from '../activities/contracts.ts';
import type { JobOutcome, Trainer, TrainerDeath, TrainerJob } from '../activities/trainer.ts';
import {
  type FromTrainer,
  FromTrainerSchema,
  type SavedCheckpoint,
  type ToTrainer,
} from '../activities/trainer-protocol.ts';
import type { JobView, TrainerView } from '../telemetry/trainer-gauges.ts';
import { idsOf, type LogIds, writeLogLine } from './log-lines.ts';
import { type TrainerSettings, trainerEnvironment } from './trainer-settings.ts';

const STDERR_KEPT = 4000;
const LINE_KEPT = 4000;
const MEMORY_INTERVAL_MS = 2000;
const PAGE_BYTES = 4096;
/** A trainer without work gives its memory back after so long; loading the weights again takes seconds. */
const IDLE_MS = 300_000;

/** What of a trainer is worth counting. */
export interface TrainerEvents {
  /** It ended by itself while it had a job, or was killed. */
  died?(death: TrainerDeath): void;
  saved?(checkpoint: SavedCheckpoint): void;
  /** It is handed a job. */
  begins?(input: StepInput<unknown>, pid: number | undefined): JobObserver;
}

/** Told of one job. */
export interface JobObserver {
  saved(checkpoint: SavedCheckpoint): void;
  ended(outcome: JobOutcome): void;
}

/** The worker's side of the trainer process: starts it on demand, restarts it after it died, gives it one job at a time. */
export class TrainerClient implements Trainer, TrainerView {
  readonly #settings: TrainerSettings;
  readonly #events: TrainerEvents;
  #child: Child | undefined;

  constructor(settings: TrainerSettings, events: TrainerEvents = {}) {
    this.#settings = settings;
    this.#events = events;
  }

  submit(input: StepInput<unknown>, modelFiles: ModelFiles): TrainerJob {
    if (!this.#child?.usable) this.#child = new Child(this.#settings, this.#events);
    return this.#child.run(input, modelFiles);
  }

  job(): JobView | undefined {
    return this.#child?.usable ? this.#child.job() : undefined;
  }

  residentBytes(): number | undefined {
    return this.#child?.usable ? this.#child.residentBytes() : undefined;
  }

  /** Process id of the trainer that is running, for tests and for people. */
  get pid(): number | undefined {
    return this.#child?.usable ? this.#child.pid : undefined;
  }

  /** Closes the channel: the trainer ends between two micro-batches. */
  close(): void {
    this.#child?.close();
  }
}

/** One trainer process, from its start to its end. */
class Child {
  readonly #process: ChildProcess;
  readonly #events: TrainerEvents;
  readonly #memoryTimer: NodeJS.Timeout;
  #idleTimer: NodeJS.Timeout | undefined;
  #job: Job | undefined;
  #rssBytes: number | null = null;
  #stderr = '';
  /** The line that the trainer has not ended yet. */
  #line = '';
  #ids: LogIds = {};
  #observer: JobObserver | undefined;
  #stalled = false;

  constructor(settings: TrainerSettings, events: TrainerEvents) {
    this.#events = events;
    const path = fileURLToPath(new URL(`./trainer${extname(import.meta.url)}`, import.meta.url));
    this.#process = fork(path, [JSON.stringify(settings)], {
      env: trainerEnvironment(process.env, settings),
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => this.#keepStderr(text));
    this.#process.on('message', (raw) => this.#receive(FromTrainerSchema.parse(raw)));
    this.#process.on('error', (error) => this.#keepStderr(`${error.message}\n`));
    this.#process.on('exit', (exitCode, signal) => this.#end(exitCode, signal));
    this.#memoryTimer = setInterval(() => this.#measureMemory(), MEMORY_INTERVAL_MS);
    this.#memoryTimer.unref();
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get usable(): boolean {
    return this.#process.connected && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  run(input: StepInput<unknown>, model: ModelFiles): TrainerJob {
    if (this.#job) throw new Error(`the trainer is busy with ${this.#job.input.step}`);
    const job = new Job(
      input,
      (message) => this.#send(message),
      () => this.#kill(),
    );
    clearTimeout(this.#idleTimer);
    this.#job = job;
    this.#ids = idsOf(input);
    const observer = this.#events.begins?.(input, this.pid);
    this.#observer = observer;
    void job.outcome.then((outcome) => observer?.ended(outcome));
    this.#send({ type: 'job', id: job.id, input, model });
    return job;
  }

  job(): JobView | undefined {
    return this.#job?.view();
  }

  residentBytes(): number | undefined {
    this.#measureMemory();
    return this.#rssBytes ?? undefined;
  }

  close(): void {
    if (this.#process.connected) this.#process.disconnect();
  }

  #send(message: ToTrainer): void {
    // A channel that closes under a message is noticed by the process's exit.
    if (this.#process.connected) this.#process.send(message, () => {});
  }

  #receive(message: FromTrainer): void {
    // So that even a trainer that dies young leaves a figure.
    if (this.#rssBytes === null) this.#measureMemory();
    const job = this.#job;
    if (message.type === 'ready' || !job || message.id !== job.id) return;
    if (message.type === 'saved') {
      this.#events.saved?.(message);
      this.#observer?.saved(message);
    }
    const outcome = job.receive(message);
    if (!outcome) return;
    this.#job = undefined;
    this.#idleTimer = setTimeout(() => this.close(), IDLE_MS);
    this.#idleTimer.unref();
    job.settle(outcome);
  }

  #end(exitCode: number | null, signal: NodeJS.Signals | null): void {
    clearInterval(this.#memoryTimer);
    this.#log(this.#line);
    if (signal || exitCode) this.#log(`the trainer ended with ${signal ?? `exit code ${exitCode}`}`);
    const death = { exitCode, signal, stalled: this.#stalled, rssBytes: this.#rssBytes, stderr: this.#stderr };
    if (this.#job || signal || exitCode) this.#events.died?.(death);
    this.#job?.settle({ kind: 'died', death });
    this.#job = undefined;
  }

  #kill(): void {
    this.#stalled = true;
    this.#process.kill('SIGKILL');
  }

  #keepStderr(text: string): void {
    for (const message of (this.#line + text).split('\n').slice(0, -1)) this.#log(message);
    this.#line = (this.#line + text).split('\n').at(-1)?.slice(-LINE_KEPT) ?? '';
    this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
  }

  /** What a trainer says belongs to the job that it has, or had last. */
  #log(message: string): void {
    if (message.trim() !== '') writeLogLine({ level: 'INFO', source: 'trainer', message, ...this.#ids });
  }

  #measureMemory(): void {
    try {
      this.#rssBytes = Number(readFileSync(`/proc/${this.pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES;
    } catch {
      // Not Linux, or the process has just ended: the last figure stays.
    }
  }
}

/** A job between its submission and its outcome. */
class Job implements TrainerJob {
  readonly id = randomUUID();
  readonly outcome: Promise<JobOutcome>;
  readonly input: StepInput<unknown>;
  readonly #send: (message: ToTrainer) => void;
  readonly kill: () => void;
  #settle: (outcome: JobOutcome) => void = () => {};
  #progress: Progress | undefined;
  #lastSign = performance.now();
  #lastSave = performance.now();

  constructor(input: StepInput<unknown>, send: (message: ToTrainer) => void, kill: () => void) {
    this.input = input;
    this.#send = send;
    this.kill = kill;
    this.outcome = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  progress(): Progress | undefined {
    return this.#progress;
  }

  silentMs(): number {
    return performance.now() - this.#lastSign;
  }

  view(): JobView {
    return {
      input: this.input,
      progress: this.#progress,
      silentSeconds: this.silentMs() / 1000,
      unsavedSeconds: (performance.now() - this.#lastSave) / 1000,
    };
  }

  drain(): void {
    this.#send({ type: 'drain', id: this.id });
  }

  settle(outcome: JobOutcome): void {
    this.#settle(outcome);
  }

  /** The outcome that a message brings, if it does. */
  receive(message: Exclude<FromTrainer, { type: 'ready' }>): JobOutcome | undefined {
    this.#lastSign = performance.now();
    switch (message.type) {
      case 'progress':
        this.#progress = message.progress;
        return undefined;
      case 'alive':
        return undefined;
      case 'saved':
        this.#lastSave = performance.now();
        return undefined;
      case 'done':
        return { kind: 'done', result: message.result };
      case 'drained':
        return { kind: 'drained', position: message.position };
      case 'failed': {
        const { code, message: text, retryable, details } = message;
        return { kind: 'failed', fault: { code, message: text, retryable, details } };
      }
    }
  }
}
