import { expect, test } from 'vitest';
import { toFault } from '../../activities/faults.ts';
import { parseByteSize } from '../../cli/byte-size.ts';
import { type BufferPool, boundPool, knownDeviceError } from '../../model/device-memory.ts';
import { trainerEnvironment } from '../../workers/trainer-settings.ts';

/** A pool as tfjs's: what is given back waits to be used again. */
function poolWithSpare(spareBytes: number): BufferPool {
  const pool: BufferPool = {
    freeBuffers: new Map([['a', [{ size: spareBytes, destroy: () => {} }]]]),
    ...{ numFreeBuffers: 1, numBytesAllocated: spareBytes, numBytesUsed: 0 },
    acquireBuffer(size) {
      pool.numBytesAllocated += size;
      pool.numBytesUsed += size;
      return { size };
    },
  };
  return pool;
}

test('a bound pool gives up what is spare first, then ends the work with what to lower', () => {
  const pool = poolWithSpare(60);
  boundPool(pool, 100);
  pool.acquireBuffer(40);
  expect(pool.numBytesAllocated).toBe(100);
  pool.acquireBuffer(50);
  expect([pool.numBytesAllocated, pool.numFreeBuffers]).toEqual([90, 0]);
  expect(() => pool.acquireBuffer(11)).toThrowError(
    expect.objectContaining({
      code: 'DEVICE_MEMORY_EXCEEDED',
      message: expect.stringMatching(/101 bytes are needed .* may use 100\. Lower train\.microBatchSize/),
    }),
  );
});

test('TensorFlow that runs out of memory is told as that, and not tried again', () => {
  const message = 'Invalid TF_Status: 8\nMessage: OOM when allocating tensor with shape[1216,49152] on /device:GPU:0';
  expect(toFault(knownDeviceError(new Error(message)))).toMatchObject({
    code: 'DEVICE_MEMORY_EXCEEDED',
    retryable: false,
    message: expect.stringContaining('OOM when allocating tensor with shape[1216,49152]'),
  });
});

test('a Temporal server that limits its rate says the same word, and is not taken for a device', () => {
  expect(toFault(new Error('8 RESOURCE_EXHAUSTED: namespace rate limit exceeded'))).not.toMatchObject({
    code: 'DEVICE_MEMORY_EXCEEDED',
  });
});

test('a size is a number with a unit, and reaches TensorFlow in its own unit', () => {
  expect(parseByteSize('--max-vram', '20GiB')).toBe(20 * 2 ** 30);
  expect(parseByteSize('--max-vram', '1.5 GB')).toBe(1.5e9);
  for (const wrong of ['20', '20 GiBs', '-1GiB', '0MB', 'lots'])
    expect(() => parseByteSize('--max-vram', wrong)).toThrowError(/for instance 20GiB/);
  expect(trainerEnvironment({}, { maxVramBytes: 2 ** 30 })).toMatchObject({ TF_PER_DEVICE_MEMORY_LIMIT_MB: '1024' });
  expect(trainerEnvironment({})).not.toHaveProperty('TF_PER_DEVICE_MEMORY_LIMIT_MB');
});
