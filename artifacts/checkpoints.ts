import { z } from 'zod';
import { type ArtifactRef, ArtifactRefSchema } from './artifact-ref.ts';
import { canonicalJson, sha256Hex } from './canonical-json.ts';
import { comparePositions, positionSlot, requireDigest } from './names.ts';
import { RecordSeries } from './record-series.ts';
import type { Store } from './store.ts';
import { determinismBroken } from './store-errors.ts';

/** What a step has reached, so that any worker can go on from there. */
export interface Checkpoint {
  /** Epoch, step, micro-batch; compared number by number. */
  position: number[];
  fingerprint: Record<string, string>;
  /** Small figures for people: loss, rows done. */
  summary: unknown;
  /** The state itself; `store.getBytes` reads it. */
  blob: ArtifactRef;
  /** Whether an epoch ends here. */
  epochEnd: boolean;
}

const CheckpointSchema = z.strictObject({
  position: z.array(z.int().nonnegative()),
  fingerprint: z.record(z.string(), z.string()),
  summary: z.json(),
  blob: ArtifactRefSchema,
  epochEnd: z.boolean(),
});

export interface SaveCheckpointInput {
  position: readonly number[];
  fingerprint: Record<string, string>;
  blob: Uint8Array;
  /** @default null */
  summary?: unknown;
  /** @default false */
  epochEnd?: boolean;
  keep?: Partial<Retention>;
}

/** Which checkpoints stay when a newer one is saved. */
export interface Retention {
  /** The furthest so many. @default 2 */
  last: number;
  /** All at an epoch's end. @default true */
  epochEnds: boolean;
}

/**
 * `saved`: this call's checkpoint is now there. `equal`: the same bytes were there already. `firstWins`: another
 * fingerprint has this position. `behind`: the step is further already, nothing was written.
 */
export type SaveOutcome = 'saved' | 'equal' | 'firstWins' | 'behind';

/**
 * Saves a checkpoint of a step; durable when it returns. The step's pointer moves forward in position only, so a
 * stalled worker that comes back late changes nothing.
 *
 * @returns the checkpoint that counts at this position, or the furthest one when the step is further already
 * @throws SoftflowError `DETERMINISM_BROKEN` if the same position was reached with other bytes under the same
 * fingerprint; both are kept
 */
export async function saveCheckpoint(
  store: Store,
  stepKey: string,
  input: SaveCheckpointInput,
): Promise<{ outcome: SaveOutcome; checkpoint: Checkpoint }> {
  const checkpoints = new StepCheckpoints(store, stepKey);
  const { keep, blob: bytes, position, fingerprint, summary = null, epochEnd = false } = input;
  const sha256 = sha256Hex(bytes);
  const present = (await checkpoints.latestAt(position, 'content'))?.checkpoint;
  if (present) return checkpoints.settle(present, input, sha256);
  const furthest = await latestCheckpoint(store, stepKey);
  if (furthest && comparePositions(position, furthest.position) < 0) return { outcome: 'behind', checkpoint: furthest };
  const blob = await checkpoints.blobs.putBytes(bytes);
  const mine: Checkpoint = { position: [...position], fingerprint, summary, blob, epochEnd };
  const winner = await checkpoints.create(mine);
  if (winner) return checkpoints.settle(winner, input, sha256);
  await checkpoints.retain({ last: 2, epochEnds: true, ...keep });
  return { outcome: 'saved', checkpoint: mine };
}

/**
 * The furthest whole checkpoint of a step, its blob read and checked: one that is damaged is passed over for the one
 * before. Undefined when the step has to start anew.
 */
export async function latestCheckpoint(
  store: Store,
  stepKey: string,
): Promise<(Checkpoint & { ageMs: number }) | undefined> {
  const checkpoints = new StepCheckpoints(store, stepKey);
  for (const position of await checkpoints.positions()) {
    const found = await checkpoints.latestAt(position, 'content');
    if (found) return { ...found.checkpoint, ageMs: Math.max(0, Date.now() - found.createdAt) };
  }
  return undefined;
}

/** All checkpoints of a step whose blob is there, furthest first. */
export async function listCheckpoints(store: Store, stepKey: string): Promise<Checkpoint[]> {
  return new StepCheckpoints(store, stepKey).list();
}

/** One step's checkpoints: records `<position>-<n>` beside the blobs they name. */
class StepCheckpoints {
  readonly #store: Store;
  readonly #stepKey: string;
  readonly #records: RecordSeries;
  readonly blobs: ReturnType<Store['blobsIn']>;

  constructor(store: Store, stepKey: string) {
    this.#store = store;
    this.#stepKey = requireDigest(stepKey);
    this.#records = new RecordSeries(store.folder, `checkpoints/${stepKey}/records`);
    this.blobs = store.blobsIn(`checkpoints/${stepKey}/blobs`);
  }

  /** Positions that have a record, whole or not, furthest first. */
  async positions(): Promise<number[][]> {
    const slots = new Set((await this.#records.places()).map(({ slot }) => slot));
    return [...slots].map(parseSlot).sort((a, b) => comparePositions(b, a));
  }

  async list(): Promise<Checkpoint[]> {
    const checkpoints: Checkpoint[] = [];
    for (const position of await this.positions()) {
      const found = await this.latestAt(position, 'size');
      if (found) checkpoints.push(found.checkpoint);
    }
    return checkpoints;
  }

  /** The newest whole checkpoint at a position; `check` says how closely its blob is looked at. */
  async latestAt(
    position: readonly number[],
    check: 'size' | 'content',
  ): Promise<{ checkpoint: Checkpoint; createdAt: number } | undefined> {
    const slot = positionSlot(position);
    const latest = await this.#records.latest((value) => this.#accept(position, value, check), slot);
    if (!latest) return undefined;
    const createdAt = await this.#records.createdAt({ slot, n: latest.n });
    return { checkpoint: latest.value, createdAt: createdAt ?? Date.now() };
  }

  /** Creates a record; returns the winner's if somebody else was first. */
  async create(checkpoint: Checkpoint): Promise<Checkpoint | undefined> {
    const { position } = checkpoint;
    const accept = (value: unknown) => this.#accept(position, value, 'content');
    const winner = await this.#records.createUnless(accept, checkpoint, positionSlot(position));
    return winner.created ? undefined : winner.value;
  }

  /** What a second checkpoint at one position means. */
  async settle(
    present: Checkpoint,
    input: SaveCheckpointInput,
    sha256: string,
  ): Promise<{ outcome: SaveOutcome; checkpoint: Checkpoint }> {
    if (present.blob.sha256 === sha256) {
      await this.blobs.putBytes(input.blob); // repairs it if it was damaged
      return { outcome: 'equal', checkpoint: present };
    }
    if (canonicalJson(present.fingerprint) !== canonicalJson(input.fingerprint)) {
      return { outcome: 'firstWins', checkpoint: present };
    }
    const first = await this.#store.putBytes(await this.#store.getBytes(present.blob));
    const second = await this.#store.putBytes(input.blob);
    const { position, fingerprint } = present;
    await this.#store.keepConflict(this.#stepKey, { position, fingerprint, checkpoints: [first, second] });
    throw determinismBroken(this.#stepKey, `position ${position.join('.')}`, first.sha256, second.sha256);
  }

  /** Removes records first and blobs after, so that no whole record ever names a blob that is gone. */
  async retain({ last, epochEnds }: Retention): Promise<void> {
    const whole = await this.list();
    const kept = whole.filter((checkpoint, index) => index < Math.max(1, last) || (epochEnds && checkpoint.epochEnd));
    const dropped = whole.filter((checkpoint) => !kept.includes(checkpoint));
    if (dropped.length === 0) return;
    const slots = new Set(dropped.map(({ position }) => positionSlot(position)));
    for (const place of await this.#records.places()) if (slots.has(place.slot)) await this.#records.remove(place);
    await this.#store.folder.syncDirectory(this.#records.directory);
    const named = new Set((await this.list()).map(({ blob }) => blob.sha256));
    for (const { blob } of dropped) if (!named.has(blob.sha256)) await this.blobs.remove(blob.sha256);
  }

  async #accept(
    position: readonly number[],
    value: unknown,
    check: 'size' | 'content',
  ): Promise<Checkpoint | undefined> {
    const { data } = CheckpointSchema.safeParse(value);
    if (!data || comparePositions(data.position, position) !== 0) return undefined;
    const whole = check === 'size' ? await this.blobs.has(data.blob) : await this.blobs.isWhole(data.blob);
    return whole ? data : undefined;
  }
}

function parseSlot(slot: string): number[] {
  return slot.split('.').map(Number);
}
