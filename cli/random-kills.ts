import { randomInt } from 'node:crypto';
import type { Progress } from '../activities/contracts.ts';
import { VICTIMS, type Victims } from '../workers/victims.ts';
import type { LiveRun } from './live-view.ts';

/** Where a kill hit. */
export interface Kill {
  /** Label of the step. */
  step: string;
  position: string;
  victims: Victims;
}

/** Steps that a trainer computes. */
const KILLABLE = new Set(['encodeTitles', 'trainEpoch', 'selfDistill', 'measureDistance', 'evaluate']);
/** Long steps are hit within this many seconds of their first progress. */
const LONGEST_WAIT_SECONDS = 20;
/** A step that shows no progress is hit this many after its beginning: one that does is killed in the middle of something. */
const BLIND_WAIT_SECONDS = 30;

/**
 * Decides when to kill: in so many steps of the plan, chosen at random and each hit once, a random time after it has shown
 * progress. A step that was too quick leaves its kill to the next one, which is hit at once.
 */
export class RandomKills {
  readonly done: Kill[] = [];
  readonly #kill: (victims: Victims) => Promise<Victims | undefined>;
  readonly #random: (below: number) => number;
  readonly #count: number;
  #chosen: Set<string> | undefined;
  #waiting: { id: string; progressed: boolean; until: number } | undefined;
  readonly #hit = new Set<string>();

  constructor(
    count: number,
    kill: (victims: Victims) => Promise<Victims | undefined>,
    random: (below: number) => number = (below) => randomInt(below),
  ) {
    this.#count = count;
    this.#kill = kill;
    this.#random = random;
  }

  /** To be called with each look at the run. */
  async see({ status, progress }: LiveRun, now = Date.now()): Promise<void> {
    const steps = status.steps.filter(({ step }) => KILLABLE.has(step));
    this.#chosen ??= this.#choose(steps.map(({ id }) => id));
    const step = steps.find(({ state }) => state === 'running');
    const shown = step && progress.find((entry) => entry.step === step.step);
    if (!step || this.#hit.has(step.id)) return;
    const due = steps.slice(0, steps.indexOf(step) + 1).filter(({ id }) => this.#chosen?.has(id)).length;
    if (this.done.length >= due) return;
    const escaped = this.#waiting !== undefined && this.#waiting.id !== step.id;
    if (escaped || !this.#waiting || (shown && !this.#waiting.progressed))
      this.#waiting = {
        id: step.id,
        progressed: shown !== undefined,
        until: escaped ? now : now + this.#delayMs(shown),
      };
    if (now < this.#waiting.until) return;
    const victims = await this.#kill(VICTIMS[this.#random(VICTIMS.length)] as Victims);
    if (!victims) return;
    this.#waiting = undefined;
    this.#hit.add(step.id);
    this.done.push({ step: step.label, position: shown?.position ?? 'before its first heartbeat', victims });
  }

  /** One of the first half, so that steps are left when it escapes, and others of any. */
  #choose(ids: readonly string[]): Set<string> {
    const first = ids[this.#random(Math.ceil(ids.length / 2))] as string;
    const left = ids.filter((id) => id !== first);
    const chosen = new Set([first]);
    while (chosen.size < this.#count && left.length > 0)
      chosen.add(left.splice(this.#random(left.length), 1)[0] as string);
    return chosen;
  }

  #delayMs(shown: Progress | undefined): number {
    if (!shown) return BLIND_WAIT_SECONDS * 1000;
    const seconds = Math.min((shown.secondsLeft ?? 0) * 0.8, LONGEST_WAIT_SECONDS);
    return this.#random(Math.max(1, Math.round(seconds * 1000)));
  }
}
