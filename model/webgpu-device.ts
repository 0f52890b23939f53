import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import { SoftflowError } from '../errors.ts';

const require = createRequire(import.meta.url);

/** Dawn's addon for Node.js: `create` gives what browsers call `navigator.gpu`, `globals` the classes and constants around it. */
interface Dawn {
  create(flags: string[]): GPU;
  globals: Record<string, unknown>;
}

/** `isFallbackAdapter` is newer than the types. */
type AdapterInfo = GPUAdapterInfo & { isFallbackAdapter?: boolean };

/** A GPU that is open for computing. */
export interface WebgpuDevice {
  device: GPUDevice;
  info: AdapterInfo;
}

/** Computes on the processor: SwiftShader and lavapipe (Mesa). */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render/i;

let opened: Promise<WebgpuDevice> | undefined;

/**
 * Opens the machine's fastest GPU through Dawn, once in a process.
 * @param dawnPath the addon `dawn.node`
 * @param software whether an adapter that computes on the processor counts too
 * @throws SoftflowError `WEBGPU_NO_DEVICE` when there is no such adapter or it gives no device
 */
export function openWebgpuDevice(dawnPath: string, software: boolean): Promise<WebgpuDevice> {
  opened ??= open(dawnPath, software);
  return opened;
}

async function open(dawnPath: string, software: boolean): Promise<WebgpuDevice> {
  const { create, globals } = require(dawnPath) as Dawn;
  Object.assign(globalThis, globals);
  const gpu = create([]);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null)
    throw noDevice('none was found; it takes a driver and the Vulkan loader (Debian, Ubuntu: apt install libvulkan1)');
  const { info } = adapter as GPUAdapter & { info: AdapterInfo };
  const name = `${info.vendor} ${info.device} (${info.description})`;
  if (!software && (info.isFallbackAdapter || SOFTWARE.test(name)))
    throw noDevice(`only ${name} was found, which computes on the processor`);
  // tfjs asks whether WebGPU is there in the way of a browser.
  Object.assign((globalThis as { navigator?: object }).navigator ?? defineNavigator(), { gpu });
  const device = await adapter.requestDevice(allOf(adapter)).catch((error: unknown) => {
    throw noDevice(`${name} gives no device: ${error instanceof Error ? error.message : String(error)}`);
  });
  // Dawn has a turn of the event loop outstanding, which `mapNow` must not meet.
  await turn();
  return { device, info };
}

/** Node.js 20 has no `navigator`. */
function defineNavigator(): object {
  const navigator = {};
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
  return navigator;
}

/** Buffers and workgroups as large as the adapter has them; the defaults are those of a phone. */
function allOf({ limits, features }: GPUAdapter): GPUDeviceDescriptor {
  return {
    requiredFeatures: features.has('timestamp-query') ? ['timestamp-query'] : [],
    requiredLimits: {
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxBufferSize: limits.maxBufferSize,
      maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    },
  };
}

function noDevice(why: string): SoftflowError {
  return new SoftflowError(
    'WEBGPU_NO_DEVICE',
    `Expected a GPU that WebGPU can use: ${why}. See "softflow doctor", or choose another backend.`,
    { details: { why } },
  );
}

const pause = new Int32Array(new SharedArrayBuffer(4));
/** Looks that often without a pause, then every tenth of a millisecond: most reads are short, and spinning takes a core. */
const EAGER_LOOKS = 200;

/**
 * Waits for the GPU and gives a buffer's bytes. WebGPU knows promises only, TensorFlow.js must also read at once (`dataSync`):
 * Dawn looks for finished work in turns that it asks `setImmediate` for, so while we wait we take those turns ourselves.
 */
export function mapNow(buffer: GPUBuffer): ArrayBuffer {
  const { setImmediate } = globalThis;
  const turns: (() => void)[] = [];
  globalThis.setImmediate = ((callback: () => void) => turns.push(callback)) as never;
  let failure: unknown;
  try {
    buffer.mapAsync(GPUMapMode.READ).catch((error: unknown) => {
      failure = error;
    });
    for (let looks = 0; buffer.mapState === 'pending'; looks++) {
      const next = turns.shift();
      if (next === undefined) break;
      if (looks > EAGER_LOOKS) Atomics.wait(pause, 0, 0, 0.1);
      next();
    }
  } finally {
    globalThis.setImmediate = setImmediate;
    for (const left of turns) setImmediate(left);
  }
  if (buffer.mapState !== 'mapped')
    throw new SoftflowError('WEBGPU_FAILED', `The GPU did not give its results back${failure ? `: ${failure}` : ''}.`);
  const bytes = buffer.getMappedRange().slice(0);
  buffer.unmap();
  return bytes;
}
