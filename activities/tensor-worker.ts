import { ApplicationFailure } from '@temporalio/common';
import type { StepResult } from './contracts.ts';

/** The worker that computes a tensor step, as steps and runs know it. */
export interface TensorWorker {
  identity: string;
  /** Its own queue: what is sent there meets the model that it has loaded. */
  queue: string;
  device: Device;
}

/** One device does one job at a time, whichever queue the job came from. */
export class Device {
  #busy = false;
  #idleSinceMs = 0;
  #waiting: (() => void)[] = [];

  /** When the last job ended; 0 before the first. */
  get idleSinceMs(): number {
    return this.#idleSinceMs;
  }

  /** @throws ApplicationFailure `WORKER_BUSY`, retryable: another worker may be free */
  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.#busy) throw busy();
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
      this.#idleSinceMs = Date.now();
      for (const go of this.#waiting.splice(0)) go();
    }
  }

  /** Resolves once nothing computes; rejects with the signal's reason. */
  async idle(signal: AbortSignal): Promise<void> {
    while (this.#busy) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    signal.throwIfAborted();
  }
}

/**
 * A tensor step on the worker's device; its result says where the model is loaded now. Not so when the step had to wait for
 * another one to end: others wait as well then, and the device will not be free when the run comes back.
 *
 * @param scheduledMs since when the step has been in the queue
 */
export async function onDevice(
  { device, queue }: TensorWorker,
  scheduledMs: number,
  work: () => Promise<StepResult<unknown> | null>,
): Promise<StepResult<unknown> | null> {
  const hasWaited = scheduledMs < device.idleSinceMs;
  const result = await device.use(work);
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
