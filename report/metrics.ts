import type { PredictionRow } from '../datasets/schemas.ts';
import { SoftflowError } from '../errors.ts';

/** HR and NDCG keyed by K, and what the generated texts look like. */
export interface Metrics {
  hr: Record<string, number>;
  ndcg: Record<string, number>;
  windows: number;
  /** Share of predictions whose text is a title of the catalogue; absent where no text is generated. */
  existingTitles?: number;
  distinctTexts?: number;
  /** Empty generations. */
  invalid?: number;
}

/**
 * Rank of the target row, 1-based: 1 + the other rows at or nearer than it, so ties count against the model
 * and one that is equally far from everything ranks last.
 * @throws SoftflowError NOT_FINITE when a distance is not finite.
 */
export function rankOf(distances: ArrayLike<number>, target: number): number {
  const own = distances[target] ?? Number.NaN;
  let rank = 1;
  for (let row = 0; row < distances.length; row++) {
    const distance = distances[row] as number;
    if (!Number.isFinite(distance)) throw notFinite(row, distance);
    if (row !== target && distance <= own) rank++;
  }
  if (!Number.isFinite(own)) throw notFinite(target, own);
  return rank;
}

/** Rank of every row when rows are ordered by popularity, by the rule of `rankOf`: 1 + others at least as popular. */
export function popularityRanks(popularity: ArrayLike<number>): Int32Array {
  const descending = Float64Array.from(popularity).sort().reverse();
  const lastPosition = new Map<number, number>();
  descending.forEach((count, index) => {
    lastPosition.set(count, index + 1);
  });
  return Int32Array.from({ length: popularity.length }, (_, row) => lastPosition.get(popularity[row] as number) ?? 0);
}

/** 1 where the target is among the first k, else 0. */
export const hitGain = (rank: number, k: number): number => (rank <= k ? 1 : 0);
/** 1 / log2(rank + 1) where the target is among the first k, else 0 (one relevant item, so the ideal gain is 1). */
export const ndcgGain = (rank: number, k: number): number => (rank <= k ? 1 / Math.log2(rank + 1) : 0);

/** HR@k: share of windows whose target is among the first k; equals Recall@k with one target a window. */
export const hitRateAt = (ranks: ArrayLike<number>, k: number): number => meanGain(ranks, k, hitGain);
/** NDCG@k with one relevant item a window. */
export const ndcgAt = (ranks: ArrayLike<number>, k: number): number => meanGain(ranks, k, ndcgGain);

/** HR@k of a ranking drawn at random from n titles: k / n. */
export const chanceHitRateAt = (titles: number, k: number): number => Math.min(k, titles) / titles;

/** Expected NDCG@k of a ranking drawn at random from n titles: (1/n) sum of 1 / log2(rank + 1) over the first k ranks. */
export function chanceNdcgAt(titles: number, k: number): number {
  let sum = 0;
  for (let rank = 1; rank <= Math.min(k, titles); rank++) sum += ndcgGain(rank, k);
  return sum / titles;
}

/** Gain of each window, in order: what means and bootstraps are taken over. */
export function gains(ranks: ArrayLike<number>, k: number, kind: 'hr' | 'ndcg'): Float64Array {
  const gain = kind === 'hr' ? hitGain : ndcgGain;
  return Float64Array.from({ length: ranks.length }, (_, index) => gain(ranks[index] as number, k));
}

/** HR and NDCG at each K; keys are the K as text. */
export function rankMetrics(ranks: ArrayLike<number>, ks: readonly number[]): Pick<Metrics, 'hr' | 'ndcg' | 'windows'> {
  return {
    hr: Object.fromEntries(ks.map((k) => [String(k), hitRateAt(ranks, k)])),
    ndcg: Object.fromEntries(ks.map((k) => [String(k), ndcgAt(ranks, k)])),
    windows: ranks.length,
  };
}

/** All metrics of an evaluation; `generated: false` (popularity) leaves out what speaks of texts. */
export function predictionMetrics(
  predictions: readonly PredictionRow[],
  ks: readonly number[],
  generated = true,
): Metrics {
  const metrics = rankMetrics(
    predictions.map((row) => row.rank),
    ks,
  );
  if (!generated) return metrics;
  return {
    ...metrics,
    existingTitles: share(predictions, (row) => row.exists),
    distinctTexts: new Set(predictions.map((row) => row.text)).size,
    invalid: predictions.filter((row) => !row.valid).length,
  };
}

function share<Row>(rows: readonly Row[], holds: (row: Row) => boolean): number {
  return rows.length === 0 ? 0 : rows.filter(holds).length / rows.length;
}

function meanGain(ranks: ArrayLike<number>, k: number, gain: (rank: number, k: number) => number): number {
  if (ranks.length === 0)
    throw new SoftflowError(
      'NO_WINDOWS',
      'Expected at least one ranked window, got 0. Give the evaluation more windows.',
    );
  let sum = 0;
  for (let index = 0; index < ranks.length; index++) sum += gain(ranks[index] as number, k);
  return sum / ranks.length;
}

function notFinite(row: number, value: number): SoftflowError {
  return new SoftflowError('NOT_FINITE', `Expected a finite distance to title row ${row}, got ${value}.`, {
    details: { row },
  });
}
