import { z } from 'zod';
import { type ArtifactRef, ArtifactRefSchema } from './artifact-ref.ts';
import { canonicalJson } from './canonical-json.ts';
import { positionSlot, requireDigest } from './names.ts';
import { RecordSeries } from './record-series.ts';
import type { Store } from './store.ts';
import { determinismBroken } from './store-errors.ts';

const TileSchema = z.strictObject({
  index: z.int().nonnegative(),
  blob: ArtifactRefSchema,
  meta: z.json(),
  fingerprint: z.record(z.string(), z.string()),
});

/** A finished tile of a step that is not finished yet. */
export interface Tile {
  index: number;
  blob: ArtifactRef;
  meta: unknown;
  fingerprint: Record<string, string>;
}

/**
 * Saves a finished tile of a step. The first writer wins.
 *
 * @returns the tile that counts
 * @throws SoftflowError `DETERMINISM_BROKEN` if the same tile was made of other bytes under the same fingerprint
 */
export async function putTile(
  store: Store,
  stepKey: string,
  index: number,
  tile: { bytes: Uint8Array; meta: unknown; fingerprint: Record<string, string> },
): Promise<Tile> {
  const slot = positionSlot([index]);
  const blob = await store.putBytes(tile.bytes);
  const mine: Tile = { index, blob, meta: tile.meta, fingerprint: tile.fingerprint };
  const winner = await tilesOf(store, stepKey).createUnless((value) => accept(store, value), mine, slot);
  return winner.created ? mine : agree(store, stepKey, winner.value, mine);
}

/** A finished tile; undefined if it is not there or has lost its blob. */
export async function getTile(store: Store, stepKey: string, index: number): Promise<Tile | undefined> {
  const latest = await tilesOf(store, stepKey).latest((value) => accept(store, value), positionSlot([index]));
  return latest?.value;
}

/** All finished tiles of a step, by index. */
export async function listTiles(store: Store, stepKey: string): Promise<Tile[]> {
  const tiles = await tilesOf(store, stepKey).latestOfEach((value) => accept(store, value));
  return tiles.sort((a, b) => a.index - b.index);
}

async function accept(store: Store, value: unknown): Promise<Tile | undefined> {
  const { data } = TileSchema.safeParse(value);
  return data && (await store.has(data.blob)) ? data : undefined;
}

async function agree(store: Store, stepKey: string, winner: Tile, mine: Tile): Promise<Tile> {
  const sameFingerprint = canonicalJson(winner.fingerprint) === canonicalJson(mine.fingerprint);
  if (!sameFingerprint || winner.blob.sha256 === mine.blob.sha256) return winner;
  await store.keepConflict(stepKey, { tiles: [winner, mine] });
  throw determinismBroken(stepKey, `tile ${mine.index}`, winner.blob.sha256, mine.blob.sha256);
}

function tilesOf(store: Store, stepKey: string): RecordSeries {
  return new RecordSeries(store.folder, `tiles/${requireDigest(stepKey)}`);
}
