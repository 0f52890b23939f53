import { expect, test } from 'vitest';
import type { StepResult } from '../../activities/contracts.ts';
import { Device, onDevice, type UseDevice } from '../../activities/tensor-worker.ts';
import { deviceTuner } from '../../workers/device-slots.ts';

const result = { key: 'k', reused: false } as StepResult<unknown>;

test('one job at a time: a second one is sent on, and the queue of a finished one is known', async () => {
  const device = new Device();
  const worker = { identity: '1@host', queue: 'own', device };
  let end: (value: StepResult<unknown>) => void = () => {};
  const now = Date.now() + 60_000;
  const first = onDevice(worker, now, (use) => use(() => new Promise((resolve) => (end = resolve))));
  await expect(onDevice(worker, now, (use) => use(async () => result))).rejects.toMatchObject({
    type: 'WORKER_BUSY',
    nonRetryable: false,
  });
  end(result);
  expect(await first).toEqual({ ...result, queue: 'own' });
  expect(await onDevice(worker, now, (use) => use(async () => result))).toEqual({ ...result, queue: 'own' });
  const reused = { ...result, reused: true };
  expect(await onDevice(worker, now, (use) => use(async () => reused))).not.toHaveProperty('queue');
  expect(await onDevice(worker, now, (use) => use(async () => null))).toBeNull();
  await expect(device.use(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  expect(await device.use(async () => 'free again')).toBe('free again');
});

test('a step that had to wait for another one does not bring its run back to this worker', async () => {
  const device = new Device();
  const worker = { identity: '1@host', queue: 'own', device };
  const scheduledMs = Date.now() - 1;
  const work = (use: UseDevice) => use(async () => result);
  expect(await onDevice(worker, scheduledMs, work)).toEqual({ ...result, queue: 'own' });
  expect(await onDevice(worker, scheduledMs, work)).toEqual(result);
});

/** Whoever asks for a slot of the shared queue, in the order in which they are given one. */
function slotsOf(device: Device) {
  const { activityTaskSlotSupplier: slots } = deviceTuner(device) as unknown as {
    activityTaskSlotSupplier: {
      reserveSlot(context: unknown, signal: AbortSignal): Promise<object>;
      releaseSlot(): void;
    };
  };
  const given: string[] = [];
  const reserve = (name: string, signal = new AbortController().signal) =>
    slots.reserveSlot({}, signal).then(() => given.push(name));
  return { given, reserve, release: () => slots.releaseSlot() };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A job on the device that ends when it is told. */
function begin(device: Device) {
  let end = () => {};
  const ended = device.use(() => new Promise<void>((resolve) => (end = resolve)));
  return { ended, end: () => end() };
}

test('the shared queue is asked for work only while the device does nothing', async () => {
  const device = new Device();
  const { given, reserve, release } = slotsOf(device);
  await reserve('first');
  void reserve('second');
  await settled();
  expect(given).toEqual(['first']);

  const job = begin(device);
  release();
  await settled();
  expect(given).toEqual(['first']);
  job.end();
  await job.ended;
  await settled();
  expect(given).toEqual(['first', 'second']);

  const controller = new AbortController();
  const aborted = reserve('third', controller.signal);
  const reason = new Error('the worker ends');
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  release();
  await reserve('fourth');
  expect(given).toEqual(['first', 'second', 'fourth']);
});

test('after a quick job one more step is sent for, which waits for the end of the job at work, but not for long', async () => {
  const device = new Device();
  const { given, reserve } = slotsOf(device);
  await device.use(async () => {});
  await reserve('at work');
  void reserve('next');
  await settled();
  expect(given).toEqual(['at work']);

  const job = begin(device);
  await settled();
  expect(given).toEqual(['at work', 'next']);
  void reserve('too many');
  const next = device.use(async () => 'done');
  await settled();
  job.end();
  expect(await next).toBe('done');

  const long = begin(device);
  await expect(device.use(async () => 'never')).rejects.toMatchObject({ type: 'WORKER_BUSY' });
  long.end();
  await long.ended;
  expect(given).toEqual(['at work', 'next']);
  expect(device.quick).toBe(false);
});
