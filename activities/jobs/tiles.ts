import { canonicalJson } from '../../artifacts/canonical-json.ts';
import { getTile, listTiles, putTile, type Tile } from '../../artifacts/tiles.ts';
import { SoftflowError } from '../../errors.ts';
import type { StepInput, StepTelemetry } from '../contracts.ts';
import { DrainedError, type JobContext } from '../trainer-protocol.ts';

/** A step cut into tiles, the unit of tensor work: a tile is computed from start to end by one process. */
export interface TiledWork {
  /** Row indices of each tile. */
  tiles: number[][];
  /** What a row is, for people. */
  unit: string;
  /**
   * Computes one tile; the bytes must be a function of the tile's rows alone. Long work calls `beforeStep` now and then:
   * it shows life, and throws when the trainer is asked to stop, which loses the tile.
   */
  compute(rows: readonly number[], beforeStep: () => Promise<void>): Uint8Array | Promise<Uint8Array>;
}

export interface TilesDone {
  /** Bytes of every tile in order. */
  tiles: Uint8Array[];
  fingerprint: Record<string, string>;
  telemetry: StepTelemetry;
}

/** Rows sorted by (token count, row), cut into groups of `tileRows`; rows never move between tiles. */
export function cutTiles(tokenCounts: readonly number[], tileRows: number): number[][] {
  const order = tokenCounts.map((_, row) => row);
  order.sort((a, b) => (tokenCounts[a] as number) - (tokenCounts[b] as number) || a - b);
  const tiles: number[][] = [];
  for (let start = 0; start < order.length; start += tileRows) tiles.push(order.slice(start, start + tileRows));
  return tiles;
}

/**
 * Computes this shard's tiles that nobody has saved yet, saving each as it is done. Another run that is at work on the same
 * step is met half-way: it begins at the other end, and what it has saved is taken.
 *
 * @returns undefined when tiles of other shards are still missing
 * @throws DrainedError when asked to stop; finished tiles are saved
 */
export async function runTiles(
  input: StepInput<unknown>,
  context: JobContext,
  work: TiledWork,
): Promise<TilesDone | undefined> {
  const started = Date.now();
  const saved = new Map((await listTiles(context.store, input.key)).map((tile) => [tile.index, tile]));
  checkFingerprints([...saved.values()], input, context);
  const mine = shardOf(work.tiles, input.circumstances.shard).filter((index) => !saved.has(index));
  if (await begunByAnotherRun(input, context)) mine.reverse();
  const rowsOf = (indices: Iterable<number>) => [...indices].reduce((sum, i) => sum + (work.tiles[i]?.length ?? 0), 0);
  const reusedRows = rowsOf(saved.keys());
  const total = rowsOf(work.tiles.keys());
  const resumes = await countResumes(
    input,
    context,
    `resumed, ${reusedRows} of ${total} ${work.unit} reused`,
    reusedRows,
  );
  let rows = 0;
  for (const index of mine) {
    const present = await getTile(context.store, input.key, index);
    if (present) {
      checkFingerprints([present], input, context);
      saved.set(index, present);
      continue;
    }
    const position = `tile ${index + 1}/${work.tiles.length}`;
    report(input, context, { position, done: rowsOf(saved.keys()), total, rows, started, unit: work.unit });
    const stopIfDraining = async () => {
      context.alive();
      await context.breathe();
      if (context.draining()) throw new DrainedError(position);
    };
    await stopIfDraining();
    const tile = work.tiles[index] as number[];
    const bytes = await work.compute(tile, stopIfDraining);
    const { fingerprint } = context;
    saved.set(index, await putTile(context.store, input.key, index, { bytes, meta: null, fingerprint }));
    rows += tile.length;
  }
  const all = work.tiles.map((_, index) => saved.get(index));
  const stored = all.some((tile) => tile === undefined) ? await listTiles(context.store, input.key) : (all as Tile[]);
  if (stored.length < work.tiles.length) return undefined;
  const seconds = (Date.now() - started) / 1000;
  return {
    tiles: await Promise.all(stored.map((tile) => context.store.getBytes(tile.blob))),
    fingerprint: fingerprintOf(stored, context),
    telemetry: {
      seconds,
      resumes,
      rate: rows / Math.max(seconds, 1e-3),
      unit: work.unit,
      reusedRows,
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    },
  };
}

/** Every attempt is noted with its run before it is begun. */
async function begunByAnotherRun({ key, circumstances }: StepInput<unknown>, { store }: JobContext): Promise<boolean> {
  const [first] = (await store.readTelemetry(key)) as { runId: string }[];
  return first !== undefined && first.runId !== circumstances.runId;
}

/** How often the step went on from saved tiles; this time is noted when it does. */
async function countResumes(
  { key, circumstances }: StepInput<unknown>,
  { store }: JobContext,
  resumed: string,
  reusedRows: number,
): Promise<number> {
  // Another shard of the same step may have been quicker: that is no resume.
  if (reusedRows > 0 && !circumstances.shard) await noteResume(store, key, circumstances.runId, resumed);
  return resumesOf(store, key);
}

/** What an attempt went on from, in a sentence for people. */
export async function noteResume(
  store: JobContext['store'],
  key: string,
  runId: string,
  resumed: string,
): Promise<void> {
  await store.addTelemetry(key, { runId, seconds: 0, resumes: 0, resumed });
}

export async function resumesOf(store: JobContext['store'], key: string): Promise<number> {
  return (await store.readTelemetry(key)).filter((entry) => (entry as { resumed?: string }).resumed !== undefined)
    .length;
}

function shardOf(tiles: readonly number[][], shard: { index: number; count: number } | undefined): number[] {
  const { index, count } = shard ?? { index: 0, count: 1 };
  const from = Math.floor((index * tiles.length) / count);
  const to = Math.floor(((index + 1) * tiles.length) / count);
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/**
 * A half-done step goes on only under the fingerprint that it began with.
 * @throws SoftflowError `FINGERPRINT_CHANGED`
 */
export function checkFingerprint(began: Record<string, string>, input: StepInput<unknown>, context: JobContext): void {
  if (canonicalJson(began) === canonicalJson(context.fingerprint) || input.circumstances.allowDifferentBackend) return;
  const names = [...new Set([...Object.keys(began), ...Object.keys(context.fingerprint)])];
  const changed = names.filter((name) => began[name] !== context.fingerprint[name]);
  const list = changed.map(
    (name) => `${name}: began with "${began[name] ?? ''}", now "${context.fingerprint[name] ?? ''}"`,
  );
  throw new SoftflowError(
    'FINGERPRINT_CHANGED',
    `${input.step} is half done under another backend (${list.join('; ')}). Its bytes would differ. Go on where it began, or set allowDifferentBackend: true.`,
    { details: { step: input.step, changed } },
  );
}

function checkFingerprints(tiles: readonly Tile[], input: StepInput<unknown>, context: JobContext): void {
  for (const tile of tiles) checkFingerprint(tile.fingerprint, input, context);
}

/** A step made under several fingerprints says so. */
function fingerprintOf(tiles: readonly Tile[], { fingerprint }: JobContext): Record<string, string> {
  const others = new Set(tiles.map((tile) => canonicalJson(tile.fingerprint)));
  return others.size > 1
    ? { ...fingerprint, mixed: [...others].sort().join(' ') }
    : (tiles[0]?.fingerprint ?? fingerprint);
}

function report(
  { step }: StepInput<unknown>,
  context: JobContext,
  at: {
    position: string;
    done: number;
    total: number;
    rows: number;
    started: number;
    unit: string;
  },
): void {
  const rate = at.rows / Math.max((Date.now() - at.started) / 1000, 1e-3);
  context.progress({
    step,
    position: at.position,
    done: at.done,
    total: at.total,
    unit: at.unit,
    ...(at.rows > 0 && { rate, secondsLeft: (at.total - at.done) / rate }),
  });
}
