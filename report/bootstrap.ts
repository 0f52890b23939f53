/** A mean with the percentile interval of its bootstrap. */
export interface Interval {
  mean: number;
  low: number;
  high: number;
}

/** Two models on the same windows: the mean of first - second. */
export interface Difference extends Interval {
  /** Windows on which the first is better, and on which the second is. */
  wins: number;
  losses: number;
  /** True when the data do not tell the two apart. */
  withinNoise: boolean;
}

export interface BootstrapOptions {
  /** Default 2,000. */
  resamples?: number;
  /** Default 0.95. */
  confidence?: number;
  /** Default 42. */
  seed?: number;
}

/**
 * With fewer differing windows than this an exact sign test cannot reach p < .05 (2 * 0.5^6 = .03), and a
 * percentile bootstrap is too sure of itself.
 */
export const MIN_DIFFERING_WINDOWS = 6;

/**
 * Percentile bootstrap of a mean over windows. Values that are all 0 or all 1 carry no spread to resample, so
 * their far bound is the exact binomial one (about 3.7 / n from the mean at 95 %).
 */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Interval {
  const mean = meanOf(values);
  const tail = (1 - (options.confidence ?? 0.95)) / 2;
  if (isConstant(values)) {
    const reach = 1 - tail ** (1 / Math.max(1, values.length));
    return { mean, low: mean === 1 ? 1 - reach : mean, high: mean === 0 ? reach : mean };
  }
  return { mean, ...percentiles(resampledMeans(values, options), tail) };
}

/** Paired bootstrap: the same windows are drawn for both, so only the differences are resampled. */
export function bootstrapDifference(
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  options: BootstrapOptions = {},
): Difference {
  if (first.length !== second.length)
    throw new RangeError(`Expected both models on the same windows, got ${first.length} and ${second.length}`);
  const differences = Float64Array.from({ length: first.length }, (_, i) => (first[i] ?? 0) - (second[i] ?? 0));
  const wins = differences.filter((value) => value > 0).length;
  const losses = differences.filter((value) => value < 0).length;
  const tail = (1 - (options.confidence ?? 0.95)) / 2;
  const interval = percentiles(resampledMeans(differences, options), tail);
  const withinNoise = wins + losses < MIN_DIFFERING_WINDOWS || (interval.low <= 0 && interval.high >= 0);
  return { mean: meanOf(differences), ...interval, wins, losses, withinNoise };
}

/** Means of `resamples` draws with replacement; draw i of resample r depends on (seed, r, i) alone. */
export function resampledMeans(values: ArrayLike<number>, options: BootstrapOptions = {}): Float64Array {
  const { resamples = 2000, seed = 42 } = options;
  const source = Float64Array.from(values);
  const n = source.length;
  const means = new Float64Array(resamples);
  for (let resample = 0; resample < resamples; resample++) {
    const stream = mix(mix(seed) + resample);
    let sum = 0;
    for (let draw = 0; draw < n; draw++) sum += source[scale(mix(stream + draw), n)] as number;
    means[resample] = sum / n;
  }
  return means;
}

/**
 * Test windows a model needs before a difference in hit rate is seen in 80 % of runs at the 5 % level
 * (two independent proportions, normal approximation).
 */
export function windowsNeeded(rate: number, difference: number): number {
  const zSum = 1.96 + 0.8416;
  const other = Math.min(1, rate + difference);
  const variance = rate * (1 - rate) + other * (1 - other);
  return Math.ceil((zSum ** 2 * variance) / difference ** 2);
}

/** In words: "within noise", "better", "worse" (of the first against the second). */
export function verdict(difference: Difference): 'within noise' | 'better' | 'worse' {
  if (difference.withinNoise) return 'within noise';
  return difference.mean > 0 ? 'better' : 'worse';
}

function percentiles(means: Float64Array, tail: number): { low: number; high: number } {
  const sorted = means.slice().sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return { low: at(tail), high: at(1 - tail) };
}

function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += values[index] as number;
  return values.length === 0 ? 0 : sum / values.length;
}

function isConstant(values: ArrayLike<number>): boolean {
  for (let index = 1; index < values.length; index++) if (values[index] !== values[0]) return false;
  return true;
}

/** A 32-bit finaliser (the constants of MurmurHash3's), enough to spread counters over indices. */
function mix(counter: number): number {
  let hash = (counter + 0x9e3779b9) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A 32-bit number scaled to 0 ... n - 1 without the bias of a remainder. */
const scale = (hash: number, n: number): number => Math.floor((hash / 2 ** 32) * n);
