import type { ArtifactRef } from './artifact-ref.ts';
import { digestOf } from './canonical-json.ts';

const TABLES = ['items', 'windowsTrain', 'windowsValid', 'windowsTest'] as const;

/**
 * SHA-256 over the prepared windows and the items that they name: two runs with one split hash were trained, validated
 * and tested on the very same rows.
 *
 * @param outputs of the step `prepareData`
 */
export function splitHash(outputs: Record<string, ArtifactRef>): string {
  return digestOf(TABLES.map((name) => [name, outputs[name]?.sha256]));
}
