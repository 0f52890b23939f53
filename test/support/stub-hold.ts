import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { until } from './until.ts';

/** A unit of work by its step, its position and any of its params: `{ step: 'trainEpoch', stage: 'sft', epoch: 1, … }`. */
export interface Place extends Record<string, unknown> {
  step: string;
  position: string;
}

const holdFile = (storeRoot: string) => `${storeRoot}.hold`;
const heldFile = (storeRoot: string) => `${storeRoot}.held`;

/**
 * The stub job that comes to `place` waits there, so that what a test does meanwhile does not depend on how fast the
 * machine is. One place a store at a time.
 */
export class Hold {
  readonly #storeRoot: string;

  constructor(storeRoot: string, place: Place) {
    this.#storeRoot = storeRoot;
    rmSync(heldFile(storeRoot), { force: true });
    writeFileSync(`${holdFile(storeRoot)}.new`, JSON.stringify(place));
    renameSync(`${holdFile(storeRoot)}.new`, holdFile(storeRoot));
  }

  /** Waits until a job waits. */
  async reached(seconds = 60): Promise<void> {
    await until(() => existsSync(heldFile(this.#storeRoot)), seconds);
  }

  release(): void {
    rmSync(holdFile(this.#storeRoot), { force: true });
  }
}

/** The job's side: whether it is to wait where it is. */
export function isHeld(storeRoot: string, place: Record<string, unknown>): boolean {
  const held = placeToHold(storeRoot);
  if (!held || Object.entries(held).some(([name, value]) => place[name] !== value)) return false;
  writeFileSync(heldFile(storeRoot), '');
  return true;
}

function placeToHold(storeRoot: string): Place | null {
  try {
    return JSON.parse(readFileSync(holdFile(storeRoot), 'utf8')) as Place;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
