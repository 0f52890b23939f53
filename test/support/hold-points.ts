import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './until.ts';

/** Seconds until a job must have come to where it is held; the full level may run beside other work. */
const PATIENCE = process.env['SOFTFLOW_TEST_FULL'] === '1' ? 900 : 90;

/**
 * Where a job is to stop: at so many signs of life of one attempt at a step, or as soon after it as a unit of work is
 * begun but not done. Points of one step count one after another.
 */
export interface HoldPoint {
  key: string;
  moment: number;
  /** Only while this unit of work is in progress: "tile 2/4". */
  position?: string;
  /** For a step that shows life only between two units. */
  atBorder?: boolean;
}

/** Where it stands. */
export interface HeldAt {
  position: string;
  moment: number;
  /** Whether work of this position was begun: false at the border before it. */
  inside: boolean;
  /** Units done in the step before this position. */
  done: number;
  pid: number;
}

export const planFile = (folder: string) => join(folder, 'plan.json');
export const momentsFile = (folder: string) => join(folder, 'moments.jsonl');
export const heldFile = (folder: string, index: number) => join(folder, `held-${index}.json`);
export const releaseFile = (folder: string, index: number) => join(folder, `release-${index}`);

/** The test's side of `held-jobs.ts`: says where jobs are to stop, and waits until one does. */
export class Holds {
  readonly folder: string;
  readonly #points: number;

  constructor(folder: string, plan: readonly HoldPoint[]) {
    this.folder = folder;
    this.#points = plan.length;
    mkdirSync(folder, { recursive: true });
    writeFileSync(planFile(folder), JSON.stringify(plan));
  }

  async held(index: number, seconds = PATIENCE): Promise<HeldAt> {
    const file = heldFile(this.folder, index);
    await until(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'), seconds);
    return JSON.parse(readFileSync(file, 'utf8')) as HeldAt;
  }

  release(index: number): void {
    writeFileSync(releaseFile(this.folder, index), '');
  }

  releaseAll(): void {
    for (let index = 0; index < this.#points; index++) this.release(index);
  }

  /** How many moments each finished job had, by step key. */
  moments(): Map<string, number> {
    const lines = readFileSync(momentsFile(this.folder), 'utf8').trim().split('\n');
    const jobs = lines.map((line) => JSON.parse(line) as { key: string; moments: number });
    return new Map(jobs.map(({ key, moments }) => [key, moments]));
  }
}
