import type { ActivitySlotInfo, CustomSlotSupplier, SlotPermit, WorkerTuner } from '@temporalio/worker';
import type { Device } from '../activities/tensor-worker.ts';

/**
 * Slots of the queue that all tensor workers share: one, and none while the device works for the worker's own queue. While
 * jobs are quick the next one is sent for before the last one's end, for the device would mostly wait otherwise.
 */
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
  #given = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  async reserveSlot(_: unknown, signal: AbortSignal): Promise<SlotPermit> {
    while (!this.#mayGive()) await this.#device.change(signal);
    this.#given++;
    return {};
  }

  tryReserveSlot(): SlotPermit | null {
    return null;
  }

  markSlotUsed(): void {}

  releaseSlot(): void {
    this.#given--;
    this.#device.tell();
  }

  #mayGive(): boolean {
    const { busy, quick } = this.#device;
    if (this.#given === 0) return !busy || quick;
    return this.#given === 1 && busy && quick;
  }
}
