import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { SoftflowError } from '../errors.ts';
import { type ArtifactRef, ArtifactRefSchema, DigestSchema } from './artifact-ref.ts';
import { RecordSeries } from './record-series.ts';
import type { Store } from './store.ts';

/** Name of the pointer to the release that is served; its numbers are the history of every move. */
const CURRENT = 'current';
/** The step whose manifest is a release. */
const RELEASE_STEP = 'release';

/** Small figures that a move was decided by: the metric of both sides, the gain and its interval, windows. */
export const FiguresSchema = z.record(z.string(), z.union([z.number(), z.string(), z.null()]));
export type Figures = z.infer<typeof FiguresSchema>;

/**
 * One number of `current`. Pointer and audit row are one record, so there is never one without the other: who or what
 * moved it, when, from where, why and by which figures. It names every file of the release, so that whoever reads
 * `current` reads one record and then blobs.
 */
const MoveSchema = z.strictObject({
  move: z.enum(['promote', 'rollback']),
  /** Key of the release step: the release's name. */
  release: DigestSchema,
  /** The run that was promoted; null when only the release is known. */
  runId: z.string().nullable(),
  /** `adapter/adapter_model.safetensors`, `metrics.json` ...: path in the release -> blob. */
  files: z.record(z.string(), ArtifactRefSchema),
  /** The release that was current before. */
  from: DigestSchema.nullable(),
  by: z.string().min(1).max(200),
  /** RFC 3339, UTC. */
  at: z.iso.datetime(),
  reason: z.string().max(2000),
  metrics: FiguresSchema,
  /** Of the request that made the move: asked again, it finds what it has done. */
  request: z.string().min(1).max(200),
});

/** A move of `current` with its number, from 1. */
export type ReleaseMove = z.infer<typeof MoveSchema> & { number: number };

export interface PromoteInput {
  /** Key of the release step. */
  release: string;
  runId: string | null;
  /** The number of `current` that the decision was made against; 0: nothing was current. */
  expected: number;
  /** Who or what promotes. */
  by: string;
  reason: string;
  metrics: Figures;
  /** @default now */
  at?: string;
  /** The same for every attempt at one promotion, which then moves `current` once at most. @default a fresh one */
  request?: string;
}

export interface RollbackInput {
  /** A release that was current once. @default the one before the release that is current now */
  to?: string;
  by: string;
  reason: string;
  at?: string;
}

/** `won: false`: somebody else has moved `current` since `expected`; `current` is the champion that the caller now faces. */
export type MoveResult = { won: true; current: ReleaseMove } | { won: false; current: ReleaseMove | undefined };

/** The release that is served; undefined before the first promotion. @throws SoftflowError `RELEASE_DAMAGED` */
export async function currentRelease(store: Store): Promise<ReleaseMove | undefined> {
  const pointer = await store.readRef(CURRENT);
  return pointer && parseMove(pointer.n, pointer.value);
}

/** Every move of `current` after a number of it, oldest first. @throws SoftflowError `RELEASE_DAMAGED` */
export async function releaseMoves(store: Store, after = 0): Promise<ReleaseMove[]> {
  const series = new RecordSeries(store.folder, `refs/${CURRENT}`);
  const moves: ReleaseMove[] = [];
  for (const n of (await series.numbers()).reverse()) {
    const record = n > after ? await series.read(n) : undefined;
    if (record) moves.push(parseMove(n, record.value));
  }
  return moves;
}

/**
 * Makes a release current, if `current` still stands where the caller saw it. Of several at once one wins.
 *
 * @throws SoftflowError `RELEASE_NOT_FOUND`, `STORE_MISSING` or `STORE_DAMAGED` when the release is not whole
 */
export async function promoteRelease(store: Store, input: PromoteInput): Promise<MoveResult> {
  const { expected, at = new Date().toISOString(), request = randomUUID(), ...move } = input;
  const files = await filesOfRelease(store, input.release);
  const current = await currentRelease(store);
  return advance(store, expected, { ...move, move: 'promote', files, from: current?.release ?? null, at, request });
}

/**
 * Goes back to an earlier release. Without `to` it undoes the promotion that made the current release current, so two
 * rollbacks undo two promotions.
 *
 * @throws SoftflowError `ROLLBACK_IMPOSSIBLE` when there is nothing to go back to, and those of `promoteRelease`
 */
export async function rollbackRelease(store: Store, input: RollbackInput): Promise<MoveResult> {
  const { to, by, reason, at = new Date().toISOString() } = input;
  const moves = await releaseMoves(store);
  const current = moves.at(-1);
  const target = to === undefined ? standing(moves).at(-2) : moves.findLast((move) => move.release === to);
  if (!current || !target || target.release === current.release) throw noWayBack(current, to);
  const files = await filesOfRelease(store, target.release);
  const { release, runId, metrics } = target;
  const move = {
    move: 'rollback' as const,
    release,
    runId,
    files,
    from: current.release,
    by,
    at,
    reason,
    metrics,
    request: randomUUID(),
  };
  return advance(store, current.number, move);
}

/** The files of a whole release, every byte of them checked. */
async function filesOfRelease(store: Store, release: string): Promise<Record<string, ArtifactRef>> {
  const manifest = await store.readManifest(release);
  if (manifest?.step !== RELEASE_STEP)
    throw new SoftflowError(
      'RELEASE_NOT_FOUND',
      `No whole release ${release} in the store ${store.root}${manifest ? `: that is a step ${manifest.step}` : ''}. ` +
        'See `softflow releases`; a run whose release is gone makes it again when it is run again.',
      { details: { release, found: manifest?.step ?? null } },
    );
  for (const ref of Object.values(manifest.outputs)) await store.pathOf(ref);
  return manifest.outputs;
}

async function advance(store: Store, expected: number, move: z.infer<typeof MoveSchema>): Promise<MoveResult> {
  const { won, n, value } = await store.advanceRef(CURRENT, expected, MoveSchema.parse(move));
  if (won) return { won, current: parseMove(n, value) };
  // Another attempt of the same request may have been faster.
  const done = await moveOf(store, move.request, expected);
  return done ? { won: true, current: done } : { won, current: n === 0 ? undefined : parseMove(n, value) };
}

/** The move that a request has made; it can only be one after the number that the request expected. */
async function moveOf(store: Store, request: string, expected: number): Promise<ReleaseMove | undefined> {
  return (await releaseMoves(store, expected)).find((move) => move.request === request);
}

/** The promotions that stand, oldest first: a rollback takes off all that came after the release it goes back to. */
function standing(moves: readonly ReleaseMove[]): ReleaseMove[] {
  const stack: ReleaseMove[] = [];
  for (const move of moves) {
    const place = move.move === 'rollback' ? stack.findLastIndex(({ release }) => release === move.release) : -1;
    if (place >= 0) stack.splice(place + 1);
    else stack.push(move);
  }
  return stack;
}

function parseMove(number: number, value: unknown): ReleaseMove {
  const { data, error } = MoveSchema.safeParse(value);
  if (data) return { ...data, number };
  throw new SoftflowError(
    'RELEASE_DAMAGED',
    `refs/${CURRENT}/${number}: expected a move of \`${CURRENT}\`, found something else. ${z.prettifyError(error)} ` +
      'Another version of softflow wrote it; use that one, or update.',
    { details: { path: `refs/${CURRENT}/${number}` } },
  );
}

function noWayBack(current: ReleaseMove | undefined, to: string | undefined): SoftflowError {
  const why = !current
    ? 'nothing has been promoted yet'
    : to === undefined
      ? `${current.release} is the first release that was promoted`
      : current.release === to
        ? `${to} is current already`
        : `${to} has never been current; \`softflow promote\` makes a release current for the first time`;
  return new SoftflowError(
    'ROLLBACK_IMPOSSIBLE',
    `Nothing to roll back to: ${why}. See \`softflow releases --audit\`.`,
    {
      details: { current: current?.release ?? null, to: to ?? null },
    },
  );
}
