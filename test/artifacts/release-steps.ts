import { sha256Hex } from '../../artifacts/canonical-json.ts';
import type { PromoteInput } from '../../artifacts/releases.ts';
import type { Store } from '../../artifacts/store.ts';
import { bytesOf, manifestOf } from './fixtures.ts';

export const keyOf = (name: string): string => sha256Hex(Buffer.from(`release ${name}`));

/** What a release step leaves in the store. */
export async function writeRelease(store: Store, name: string, step = 'release'): Promise<void> {
  const outputs = {
    'adapter/adapter_model.safetensors': await store.putBytes(bytesOf(`adapter ${name}`, 3000)),
    'metrics.json': await store.putBytes(bytesOf(`metrics ${name}`)),
  };
  await store.writeManifest(keyOf(name), { ...manifestOf(keyOf(name), outputs), step });
}

export function promotion(name: string, expected: number): PromoteInput {
  const metrics = { metric: 'ndcg@10', gain: 0.02 };
  return { release: keyOf(name), runId: `run-${name}`, expected, by: name, reason: 'better', metrics };
}
