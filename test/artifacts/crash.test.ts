import { expect, test } from 'vitest';
import { faultFigure } from '../support/fault-figures.ts';
import { type CrashMoment, changesDisk, Dead, dieAt, intercept, type Operation } from './faulty-file-system.ts';
import { seededRandom } from './fixtures.ts';
import { MemoryDisk } from './memory-disk.ts';
import { type Progress, requireSound, runSteps, STEPS } from './scenario.ts';

/** The names of all writing operations of the scenario, in order. */
async function listWrites(): Promise<string[]> {
  const writes: string[] = [];
  const fs = intercept(new MemoryDisk(), (operation, run) => {
    if (changesDisk(operation)) writes.push(operation.name);
    return run();
  });
  await runSteps(fs, { promised: 0, begun: 0 });
  return writes;
}

test('Whichever write a process dies before, half-way into or after, the next one finds the old state or the new, and finishes. (R1)', async (context) => {
  let cases = 0;
  for (const [index, name] of (await listWrites()).entries()) {
    const moments: CrashMoment[] = name === 'write' ? ['before', 'half', 'after'] : ['before', 'after'];
    for (const moment of moments) {
      const disk = new MemoryDisk();
      const progress: Progress = { promised: 0, begun: 0 };
      await runSteps(dieAt(disk, index + 1, moment), progress).catch((error: unknown) => {
        if (!(error instanceof Dead || isTypedDeath(error))) throw error;
      });
      await requireSound(disk, progress);
      await runSteps(disk, progress);
      await requireSound(disk, { promised: STEPS.length, begun: STEPS.length });
      cases++;
    }
  }
  expect(cases).toBeGreaterThan(300);
  faultFigure(context, cases, 'every write before, half-way, after: PASS');
}, 60_000);

function isTypedDeath(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof Dead;
}

/** Runs the scenario and looks at disks that a power cut after each write may leave; returns how many were sound. */
async function cutPowerEverywhere(cutsPerWrite: number, skip: (operation: Operation) => boolean): Promise<number> {
  const random = seededRandom(20250520);
  const progress: Progress = { promised: 0, begun: 0 };
  const disk = new MemoryDisk();
  const extremes = [() => 0, (limit: number) => limit - 1];
  const choices = [...extremes, ...Array.from({ length: cutsPerWrite - extremes.length }, () => random)];
  let states = 0;
  const fs = intercept(disk, async (operation, run) => {
    const result = skip(operation) ? undefined : await run();
    if (!changesDisk(operation)) return result;
    for (const choice of choices) {
      await requireSound(disk.afterPowerCut(choice), progress);
      states++;
    }
    return result;
  });
  await runSteps(fs, progress);
  return states;
}

test('After a power cut at any moment, what was promised is there and nothing is half there. (R4)', async (context) => {
  const states = await cutPowerEverywhere(32, () => false);
  expect(states).toBeGreaterThan(5000);
  faultFigure(context, states, '0 bad states of the disk');
}, 60_000);

test.each(['sync', 'syncDirectory'])(
  'A disk that ignores %s is caught by the same check. (R4)',
  async (name) => {
    await expect(cutPowerEverywhere(32, (operation) => operation.name === name)).rejects.toThrow(
      /expected|not a .*store/,
    );
  },
  60_000,
);
