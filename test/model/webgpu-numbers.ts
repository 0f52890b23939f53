import { openBackend } from '../../model/backend.ts';
import { tf } from '../../model/tf.ts';
import { computeNumbers } from './backend-numbers.ts';

/**
 * A process of its own, since the system's GPU driver is chosen when it starts: prints fingerprint and numbers as JSON, then
 * what reading a tensor throws once the GPU has failed.
 */
const backend = await openBackend({ name: 'webgpu', dawn: { path: process.argv[2]!, version: process.argv[3]! } });
const numbers = await computeNumbers();
const { numBytesInGPU } = tf.memory() as unknown as { numBytesInGPU: number };
let failure: unknown;
try {
  // 16 GiB: more than a buffer may have.
  tf.fill([2 ** 16, 2 ** 16], 1)
    .slice([0, 0], [1, 1])
    .dataSync();
} catch (error) {
  failure = (error as { code?: string }).code;
}
process.stdout.write(JSON.stringify({ fingerprint: backend.fingerprint, numbers, numBytesInGPU, failure }));
process.exit(0);
