import { createRequire } from 'node:module';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { SoftflowError } from '../errors.ts';
import { type BufferPool, boundPool, destroySpare } from './device-memory.ts';
import { tf } from './tf.ts';
import { mapNow, openWebgpuDevice, type WebgpuDevice } from './webgpu-device.ts';

type Package = typeof import('@tensorflow/tfjs-backend-webgpu');

const require = createRequire(import.meta.url);

/** Buffers that wait to be used again may take so many bytes; a batch of another length needs others. */
const MAX_SPARE_BYTES = 2 ** 30;

export interface WebgpuOptions {
  /** Path of Dawn's addon. */
  dawnPath: string;
  /** Whether an adapter that computes on the processor will do: for tests. */
  software: boolean;
  /** What its buffers may take together; the device's memory by default. */
  maxBytes?: number;
}

/**
 * Makes WebGPU the backend of TensorFlow.js in this process.
 * @returns what its results depend on: adapter and driver
 * @throws SoftflowError `WEBGPU_NO_DEVICE`
 */
export async function useWebgpu({
  dawnPath,
  software,
  maxBytes,
}: WebgpuOptions): Promise<{ device: string; driver: string }> {
  // Loaded first: where it finds a `navigator.gpu`, the package registers a backend that cannot read at once.
  const { WebGPUBackend } = require('@tensorflow/tfjs-backend-webgpu') as Package;
  const opened = await openWebgpuDevice(dawnPath, software);
  if (tf.findBackend('webgpu') === null) tf.registerBackend('webgpu', () => backendOver(WebGPUBackend, opened));
  await tf.setBackend('webgpu');
  await tf.ready();
  if (maxBytes !== undefined) boundPool(poolOf(tf.backend() as WebGPUBackend), maxBytes);
  const { vendor, architecture, device, description } = opened.info;
  return { device: [vendor, architecture, device].filter((part) => part !== '').join(' '), driver: description };
}

const poolOf = ({ bufferManager }: WebGPUBackend): BufferPool => bufferManager as unknown as BufferPool;

/** What the package keeps private of its backend. */
interface Internals {
  commandEncoder: GPUCommandEncoder;
  convertAndCacheOnCPU(id: object, values: unknown): Float32Array | Int32Array | Uint8Array;
}

/** The package's backend, which can also read at once, says when the GPU has failed, and gives spare memory back. */
function backendOver(Base: typeof WebGPUBackend, { device, info }: WebgpuDevice): WebGPUBackend {
  let failure: string | undefined;
  device.addEventListener('uncapturederror', (event) => {
    event.preventDefault();
    failure ??= (event as GPUUncapturedErrorEvent).error.message;
  });
  void device.lost.then(({ message }) => {
    failure ??= `the device was lost (${message})`;
  });

  class ReadableBackend extends Base {
    override readSync(id: object) {
      const { values, resource, dtype } = this.tensorMap.get(id);
      if (values != null) return values;
      const bytes = this.download(resource as GPUBuffer);
      // What could not be computed is a buffer of zeros.
      if (failure !== undefined)
        throw new SoftflowError('WEBGPU_FAILED', `The GPU could not compute: ${failure}`, { details: { failure } });
      const internals = this as unknown as Internals;
      return internals.convertAndCacheOnCPU(id, tf.util.convertBackendValuesAndArrayBuffer(bytes, dtype));
    }

    override async read(id: object) {
      return this.readSync(id);
    }

    override submitQueue(): void {
      super.submitQueue();
      trim(poolOf(this));
    }

    private download(source: GPUBuffer): ArrayBuffer {
      const target = this.bufferManager.acquireBuffer(source.size, GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ);
      this.ensureCommandEncoderReady();
      this.endComputePassEncoder();
      const { commandEncoder } = this as unknown as Internals;
      commandEncoder.copyBufferToBuffer(source, 0, target, 0, source.size);
      this.submitQueue();
      const bytes = mapNow(target);
      this.bufferManager.releaseBuffer(target);
      return bytes;
    }
  }
  return new ReadableBackend(device, info);
}

/** The package keeps every buffer that was ever given back, by its exact size; that would grow with every new batch length. */
function trim(pool: BufferPool): void {
  if (pool.numBytesAllocated - pool.numBytesUsed > MAX_SPARE_BYTES) destroySpare(pool);
}
