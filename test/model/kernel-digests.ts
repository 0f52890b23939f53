import { createHash } from 'node:crypto';
import { openBackend } from '../../model/backend.ts';
import { kernelsFor } from '../../model/kernel-sets.ts';
import { KERNEL_CASES } from './kernel-cases.ts';

/** A process of its own, since the library takes its number of threads once: prints the digest of each kernel's outputs. */
await openBackend({ name: 'tensorflow', addonPath: process.argv[2]! });
const kernels = kernelsFor('f32');
const digests = Object.entries(KERNEL_CASES).map(([name, run]) => {
  const hash = createHash('sha256');
  for (const tensor of run(kernels)) hash.update(new Uint8Array(Float32Array.from(tensor.dataSync()).buffer));
  return [name, hash.digest('hex')];
});
process.stdout.write(JSON.stringify({ kernels: kernels.name, digests: Object.fromEntries(digests) }));
