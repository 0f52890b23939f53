import { EventEmitter, once } from 'node:events';
import { ApplicationFailure } from '@temporalio/common';
import type { StepResult } from './contracts.ts';

/** The worker that computes a tensor step, as steps and runs know it. */
export interface TensorWorker {
  identity: string;
  /** Its own queue: what is sent there meets the model that it has loaded. */
  queue: string;
  device: Device;
}

/** Jobs as short as this take no longer than the way of the next one to its worker, which is therefore sent for meanwhile. */
const QUICK_MS = 250;

/** One device does one job at a time, whichever queue the job came from. */
export class Device {
  #busy = false;
  #beganMs = 0;
  #idleSinceMs = 0;
  #lastTookMs = Number.POSITIVE_INFINITY;
  readonly #changes = new EventEmitter().setMaxListeners(0);

  get busy(): boolean {
    return this.#busy;
  }

  /** When the last job ended; 0 before the first. */
  get idleSinceMs(): number {
    return this.#idleSinceMs;
  }

  /** Whether the last job was short, and so is the one at work so far. */
  get quick(): boolean {
    return this.#lastTookMs < QUICK_MS && (!this.#busy || Date.now() - this.#beganMs < QUICK_MS);
  }

  /**
   * Does a job; waits for the end of another one if that is about to end, no longer than such a job takes.
   *
   * @throws ApplicationFailure `WORKER_BUSY`, retryable: another worker may be free
   */
  async use<T>(work: () => Promise<T>): Promise<T> {
    const patience = AbortSignal.timeout(QUICK_MS);
    while (this.#busy && this.quick && !patience.aborted) await this.change(patience).catch(() => {});
    if (this.#busy) throw busy();
    this.#busy = true;
    this.#beganMs = Date.now();
    this.tell();
    try {
      return await work();
    } finally {
      this.#busy = false;
      this.#idleSinceMs = Date.now();
      this.#lastTookMs = this.#idleSinceMs - this.#beganMs;
      this.tell();
    }
  }

  /** Resolves when a job begins or ends, or when told so; rejects with the signal's reason. */
  async change(signal: AbortSignal): Promise<void> {
    await once(this.#changes, 'change', { signal }).catch(() => signal.throwIfAborted());
  }

  /** Wakes those who wait for a change. */
  tell(): void {
    this.#changes.emit('change');
  }
}

/** Does a job on a device as soon as that is free; rejects as `Device.use`. */
export type UseDevice = <T>(job: () => Promise<T>) => Promise<T>;

/**
 * A tensor step, of which only what `work` does with the device keeps others from it. Its result says where the model is
 * loaded now. Not so when the step had to wait for another one to end: others wait as well then, and the device will not be
 * free when the run comes back.
 *
 * @param scheduledMs since when the step has been in the queue
 */
export async function onDevice(
  { device, queue }: Pick<TensorWorker, 'device' | 'queue'>,
  scheduledMs: number,
  work: (use: UseDevice) => Promise<StepResult<unknown> | null>,
): Promise<StepResult<unknown> | null> {
  let hasWaited = false;
  const result = await work((job) =>
    device.use(() => {
      hasWaited = scheduledMs < device.idleSinceMs;
      return job();
    }),
  );
  return result && !result.reused && !hasWaited ? { ...result, queue } : result;
}

/** Both queues of a worker are asked for work at once, so each may bring a job. */
function busy(): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'WORKER_BUSY',
    message: 'The worker computes another step already; this one goes to the next that is free.',
    nonRetryable: false,
    nextRetryDelay: '100 ms',
  });
}
