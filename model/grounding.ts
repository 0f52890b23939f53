import { SoftflowError } from '../errors.ts';

/** How a generated text lies to the catalogue. */
export interface Grounding {
  /** 1 + titles at or nearer than the target, the target itself excluded. */
  rank: number;
  /** L2 distance to the target's title. */
  distance: number;
  /** Row of the nearest title; the first of equals. */
  nearest: number;
}

/** L2 distance of two vectors, from differences (not the expanded square, which cancels), summed in float64. */
export function l2Distance(a: Float32Array, aRow: number, b: Float32Array, bRow: number, size: number): number {
  let sum = 0;
  for (let i = 0, x = aRow * size, y = bRow * size; i < size; i++, x++, y++) {
    const difference = (a[x] as number) - (b[y] as number);
    sum += difference * difference;
  }
  return Math.sqrt(sum);
}

/**
 * Ranks the whole catalogue by distance to one generated text's embedding.
 * Ties count against the target, so a collapsed model scores nothing.
 * @throws SoftflowError `NOT_FINITE` when a distance is not a number
 */
export function ground(text: Float32Array, titles: Float32Array, size: number, target: number): Grounding {
  const grounding = startGrounding(text, titles.subarray(target * size, (target + 1) * size), target);
  addTitles(grounding, titles, 0);
  const { rank, distance, nearest } = grounding;
  return { rank, distance, nearest };
}

/** A grounding in progress, for a catalogue that comes in chunks; whole once every title was added. */
export interface OpenGrounding extends Grounding {
  readonly text: Float32Array;
  readonly target: number;
  /** Distance to the nearest title so far. */
  best: number;
}

/** @param targetTitle embedding of the true title, which is row `target` of the catalogue */
export function startGrounding(text: Float32Array, targetTitle: Float32Array, target: number): OpenGrounding {
  const distance = l2Distance(text, 0, targetTitle, 0, text.length);
  return { text, target, rank: 1, distance, nearest: 0, best: Number.POSITIVE_INFINITY };
}

/**
 * Adds titles from row `first` on, [n * size]; chunks come in the order of the rows.
 * @throws SoftflowError `NOT_FINITE` when a distance is not a number
 */
export function addTitles(grounding: OpenGrounding, titles: Float32Array, first: number): void {
  const { text, target, distance } = grounding;
  const size = text.length;
  const count = titles.length / size;
  for (let i = 0; i < count; i++) {
    const row = first + i;
    const d = row === target ? distance : l2Distance(text, 0, titles, i, size);
    if (!Number.isFinite(d)) throw notFinite(row, d);
    if (row !== target && d <= distance) grounding.rank++;
    if (d < grounding.best) {
      grounding.best = d;
      grounding.nearest = row;
    }
  }
}

/** The titles nearest to a text, nearest first. */
export interface NearestTitles {
  rows: number[];
  distances: number[];
}

/**
 * The k titles nearest to one generated text's embedding by L2 distance; of equals the first row.
 * @param titles [n * size], row-major
 * @param excluded rows that do not count
 * @throws SoftflowError `NOT_FINITE` when a distance is not a number
 */
export function nearestTitles(
  text: Float32Array,
  titles: Float32Array,
  k: number,
  excluded: ReadonlySet<number> = new Set(),
): NearestTitles {
  const size = text.length;
  const nearest: NearestTitles = { rows: [], distances: [] };
  for (let row = 0; row < titles.length / size; row++) {
    if (excluded.has(row)) continue;
    const distance = l2Distance(text, 0, titles, row, size);
    if (!Number.isFinite(distance)) throw notFinite(row, distance);
    const last = nearest.distances.at(-1) ?? Number.NEGATIVE_INFINITY;
    if (nearest.rows.length < k || distance < last) insert(nearest, row, distance, k);
  }
  return nearest;
}

/** Behind the titles that are as near or nearer; the list keeps k at most. */
function insert({ rows, distances }: NearestTitles, row: number, distance: number, k: number): void {
  let at = rows.length;
  while (at > 0 && (distances[at - 1] as number) > distance) at--;
  rows.splice(at, 0, row);
  distances.splice(at, 0, distance);
  if (rows.length > k) {
    rows.pop();
    distances.pop();
  }
}

function notFinite(row: number, distance: number): SoftflowError {
  return new SoftflowError(
    'NOT_FINITE',
    `Expected finite title embeddings, got a distance of ${distance} to title row ${row}`,
  );
}
