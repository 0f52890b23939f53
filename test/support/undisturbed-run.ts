import { expect } from 'vitest';
import type { TrainEpochResult } from '../../activities/contracts.ts';
import type { Manifest } from '../../artifacts/manifest.ts';
import { decodeDistilled, decodePredictions } from '../../datasets/tables.ts';
import { decodeSafetensors } from '../../model/safetensors.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import type { DisturbedRun } from './disturbed-run.ts';

/** What disturbed runs are compared with. */
export interface UndisturbedRun {
  run: DisturbedRun;
  status: RunStatus;
  digests: Record<string, string>;
  /** By step. */
  keys: Map<string, string>;
  /** By step key. */
  moments: Map<string, number>;
}

export function stepKey({ keys }: UndisturbedRun, step: string): string {
  const key = keys.get(step);
  if (key === undefined) throw new Error(`no step ${step}`);
  return key;
}

/** Equal bytes mean something only if the run that they are compared with has learnt something. */
export async function expectLearnt(twin: UndisturbedRun): Promise<void> {
  const store = await twin.run.store();
  const manifest = async (step: string) => (await store.readManifest(stepKey(twin, step))) as Manifest;
  const outputOf = async (step: string, name: string) => store.getBytes((await manifest(step)).outputs[name]!);
  const losses: number[] = [];
  for (const step of ['sft-1-train', 'sft-2-train'])
    losses.push(...((await manifest(step)).result as TrainEpochResult).stepLosses);
  expect(losses.at(-1)).toBeLessThan(0.9 * (losses[0] as number));
  expect(twin.status.curriculum.map(({ lambda }) => lambda)).toEqual([1, expect.closeTo(0.5, 0)]);

  for (const stage of ['sft-2-train', 'soft-2-train']) {
    const { tensors } = await decodeSafetensors(await outputOf(stage, 'adapter'));
    const moved = [...tensors].filter(([name]) => name.includes('lora_B'));
    expect(moved.length).toBeGreaterThan(0);
    for (const [, { data }] of moved) expect((data as Float32Array).some((value) => value !== 0)).toBe(true);
  }
  const texts = new Set(decodeDistilled(await outputOf('self-distil', 'distilled')).map(({ text }) => text));
  for (const step of ['test-sft', 'test-soft'])
    for (const { text } of decodePredictions(await outputOf(step, 'predictions'))) texts.add(text);
  expect(texts.size).toBeGreaterThanOrEqual(30);
}
