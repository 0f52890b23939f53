import { expect, test } from 'vitest';
import type { StepResult } from '../../activities/contracts.ts';
import { Device, onDevice } from '../../activities/tensor-worker.ts';
import { deviceTuner } from '../../workers/device-slots.ts';

const result = { key: 'k', reused: false } as StepResult<unknown>;

test('one job at a time: a second one is sent on, and the queue of a finished one is known', async () => {
  const device = new Device();
  const worker = { identity: '1@host', queue: 'own', device };
  let end: (value: StepResult<unknown>) => void = () => {};
  const now = Date.now() + 60_000;
  const first = onDevice(worker, now, () => new Promise((resolve) => (end = resolve)));
  await expect(onDevice(worker, now, async () => result)).rejects.toMatchObject({
    type: 'WORKER_BUSY',
    nonRetryable: false,
  });
  end(result);
  expect(await first).toEqual({ ...result, queue: 'own' });
  expect(await onDevice(worker, now, async () => result)).toEqual({ ...result, queue: 'own' });
  expect(await onDevice(worker, now, async () => ({ ...result, reused: true }))).not.toHaveProperty('queue');
  expect(await onDevice(worker, now, async () => null)).toBeNull();
  await expect(device.use(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  expect(await device.use(async () => 'free again')).toBe('free again');
});

test('a step that had to wait for another one does not bring its run back to this worker', async () => {
  const device = new Device();
  const worker = { identity: '1@host', queue: 'own', device };
  const scheduledMs = Date.now() - 1;
  expect(await onDevice(worker, scheduledMs, async () => result)).toEqual({ ...result, queue: 'own' });
  expect(await onDevice(worker, scheduledMs, async () => result)).toEqual(result);
});

test('the shared queue is asked for work only while the device does nothing', async () => {
  const device = new Device();
  const { activityTaskSlotSupplier: slots } = deviceTuner(device) as unknown as {
    activityTaskSlotSupplier: {
      reserveSlot(context: unknown, signal: AbortSignal): Promise<object>;
      releaseSlot(): void;
    };
  };
  const events: string[] = [];
  const reserve = (name: string, signal = new AbortController().signal) =>
    slots.reserveSlot({}, signal).then(() => events.push(name));
  const settled = () => new Promise((resolve) => setTimeout(resolve, 5));
  await reserve('first');
  void reserve('second');
  await settled();
  expect(events).toEqual(['first']);

  let end = () => {};
  const job = device.use(() => new Promise<void>((resolve) => (end = resolve)));
  slots.releaseSlot();
  await settled();
  expect(events).toEqual(['first']);
  end();
  await job;
  await settled();
  expect(events).toEqual(['first', 'second']);

  const controller = new AbortController();
  const aborted = reserve('third', controller.signal);
  const reason = new Error('the worker ends');
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  slots.releaseSlot();
  await reserve('fourth');
  expect(events).toEqual(['first', 'second', 'fourth']);
});
