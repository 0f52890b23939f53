import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { sha256Hex } from '../../artifacts/canonical-json.ts';
import { type Manifest, openStore, type Store } from '../../artifacts/store.ts';

/** The long level of the tests (`npm run test:full`). */
export const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';

export const KEY = 'a'.repeat(64);
export const OTHER_KEY = 'b'.repeat(64);
export const FINGERPRINT = { backend: 'cpu 1.0', threads: '2' };
export const OTHER_FINGERPRINT = { backend: 'gpu 1.0', threads: '2' };

/** A folder that goes when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-artifacts-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function newStore(): Promise<Store> {
  return openStore(join(await temporaryFolder(), 'store'), { create: true });
}

export function manifestOf(key: string, outputs: Record<string, ArtifactRef>, result: unknown = null): Manifest {
  return {
    version: 1,
    step: 'encodeTitles',
    contractVersion: 1,
    key,
    inputs: { items: sha256Hex(Buffer.from('items')) },
    params: { model: 'tiny' },
    outputs,
    result,
    fingerprint: FINGERPRINT,
  };
}

/** Deterministic bytes that differ by seed. */
export function bytesOf(seed: string | number, size = 100): Buffer {
  return Buffer.from(sha256Hex(Buffer.from(String(seed))).repeat(Math.ceil(size / 64))).subarray(0, size);
}

/** Small seeded generator (mulberry32): whole numbers from 0 below `limit`. */
export function seededRandom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}
