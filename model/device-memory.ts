import { SoftflowError } from '../errors.ts';

/** A device whose memory does not suffice, as the worker bounds it or as it has; the same work would end there again. */
export function deviceMemoryExceeded(how: string): SoftflowError {
  return new SoftflowError(
    'DEVICE_MEMORY_EXCEEDED',
    `The memory of the device does not suffice: ${how}. Lower train.microBatchSize, encode.tileRows or generation.tileRows, ` +
      'or let the worker use more of it (--max-vram), then resume the run.',
  );
}

/** TensorFlow's words for it. */
const USED_UP = /OOM when allocating[^\n]*|RESOURCE_EXHAUSTED[^\n]*/i;

/** That error, when it is one of TensorFlow's; else the same error. Only for what tensors did: other services use the word too. */
export function knownDeviceError(error: unknown): unknown {
  const match = error instanceof Error && !(error instanceof SoftflowError) ? USED_UP.exec(error.message) : null;
  return match ? deviceMemoryExceeded(match[0].slice(0, 300)) : error;
}

/** What tfjs's WebGPU backend keeps of its buffers. */
export interface BufferPool {
  acquireBuffer(size: number, ...more: never[]): { size: number };
  freeBuffers: Map<string, { size: number; destroy(): void }[]>;
  numFreeBuffers: number;
  numBytesAllocated: number;
  numBytesUsed: number;
}

/** Destroys the buffers that wait to be used again. */
export function destroySpare(pool: BufferPool): void {
  for (const buffers of pool.freeBuffers.values())
    for (const buffer of buffers.splice(0)) {
      pool.numFreeBuffers--;
      pool.numBytesAllocated -= buffer.size;
      buffer.destroy();
    }
}

/** Keeps a pool within so many bytes: spare buffers go first, then the work ends. @throws SoftflowError `DEVICE_MEMORY_EXCEEDED` */
export function boundPool(pool: BufferPool, maxBytes: number): void {
  const acquire = pool.acquireBuffer.bind(pool);
  pool.acquireBuffer = (size, ...more) => {
    if (pool.numBytesAllocated + size > maxBytes) destroySpare(pool);
    if (pool.numBytesAllocated + size > maxBytes)
      throw deviceMemoryExceeded(
        `${pool.numBytesAllocated + size} bytes are needed at once, and the worker may use ${maxBytes}`,
      );
    return acquire(size, ...more);
  };
}
