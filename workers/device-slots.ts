import type { ActivitySlotInfo, CustomSlotSupplier, SlotPermit, WorkerTuner } from '@temporalio/worker';
import type { Device } from '../activities/tensor-worker.ts';

/** Slots of the queue that all tensor workers share: one, and none while the device works for the worker's own queue. */
export function deviceTuner(device: Device): WorkerTuner {
  const unused = { type: 'fixed-size', numSlots: 1 } as const;
  return {
    workflowTaskSlotSupplier: unused,
    activityTaskSlotSupplier: new DeviceSlots(device),
    localActivityTaskSlotSupplier: unused,
    nexusTaskSlotSupplier: unused,
  };
}

class DeviceSlots implements CustomSlotSupplier<ActivitySlotInfo> {
  readonly type = 'custom';
  readonly #device: Device;
  #given = false;
  #released: (() => void)[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  async reserveSlot(_: unknown, signal: AbortSignal): Promise<SlotPermit> {
    for (;;) {
      while (this.#given) await this.#release(signal);
      await this.#device.idle(signal);
      if (this.#given) continue;
      this.#given = true;
      return {};
    }
  }

  tryReserveSlot(): SlotPermit | null {
    return null;
  }

  markSlotUsed(): void {}

  releaseSlot(): void {
    this.#given = false;
    for (const go of this.#released.splice(0)) go();
  }

  async #release(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#released.push(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    signal.throwIfAborted();
  }
}
