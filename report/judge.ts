import type { PredictionRow } from '../datasets/schemas.ts';
import { SoftflowError } from '../errors.ts';
import { bootstrapDifference } from './bootstrap.ts';
import { integer, percent, signed } from './format.ts';
import { gains } from './metrics.ts';

/** When a challenger takes the champion's place; the recipe's `promote.when` and `promote.minWindows`. */
export interface PromotionRule {
  /** `ndcg@10` or `hr@10`. */
  metric: string;
  /** The whole interval of challenger - champion must lie above this. Below 0: "not worse by more than that". */
  minGain: number;
  confidence: number;
  minWindows: number;
}

/** Whom a challenger is measured against: the release that is current, or popularity when there is none yet. */
export type Opponent = 'champion' | 'popularity';

export interface JudgeInput extends PromotionRule {
  challenger: readonly PredictionRow[];
  champion: readonly PredictionRow[];
  opponent: Opponent;
}

/** The verdict on one challenger: small figures and a sentence. The same predictions give the same judgement. */
export interface Judgement extends PromotionRule {
  promote: boolean;
  /** For people: what was found, and by which rule it was enough or not. */
  why: string;
  opponent: Opponent;
  /** Windows on which both were measured. */
  windows: number;
  /** Means of the metric; null without windows. */
  challenger: number | null;
  champion: number | null;
  /** Mean of challenger - champion over the windows, with its interval; null with too few windows. */
  gain: { mean: number; low: number; high: number } | null;
  /** Windows on which the challenger is better, and on which it is worse. */
  wins: number;
  losses: number;
}

/**
 * Paired bootstrap of the gain of a challenger over the champion on the same windows. The champion stays unless the data
 * say otherwise.
 *
 * @throws SoftflowError `JUDGE_WINDOWS` when the two were not measured on the same windows and titles
 */
export function judgeChallenger(input: JudgeInput): Judgement {
  const { challenger, champion, opponent, metric, minGain, confidence, minWindows } = input;
  requireSameWindows(challenger, champion);
  const rule = { metric, minGain, confidence, minWindows };
  const [mine, theirs] = [gainsOf(challenger, metric), gainsOf(champion, metric)];
  const windows = challenger.length;
  const shared = { ...rule, opponent, windows, challenger: meanOf(mine), champion: meanOf(theirs) };
  if (windows < minWindows) {
    const why = `too few windows: ${integer(windows)} to compare on, promote.minWindows is ${integer(minWindows)}`;
    return { ...shared, promote: false, why, gain: null, wins: 0, losses: 0 };
  }
  const { mean, low, high, wins, losses, withinNoise } = bootstrapDifference(mine, theirs, { confidence });
  // A gain that rests on a handful of windows is noise however sure the bootstrap is; "not worse" needs no difference.
  const promote = low > minGain && (minGain < 0 || !withinNoise);
  const judged = { ...shared, promote, gain: { mean, low, high }, wins, losses };
  return { ...judged, why: sentence(judged) };
}

/** `NDCG@10 +.031 against the champion (95 % interval +.010 to +.052, 420 windows): ...`. */
function sentence({ metric, opponent, gain, ...judged }: Omit<Judgement, 'why'>): string {
  const { confidence, windows, wins, losses, minGain, promote } = judged;
  const { mean, low, high } = gain ?? { mean: 0, low: 0, high: 0 };
  const rival = opponent === 'champion' ? 'the champion' : 'popularity, as nothing is promoted yet';
  const measured =
    `${metric.toUpperCase()} ${signed(mean)} against ${rival} (${percent(confidence)} interval ` +
    `${signed(low)} to ${signed(high)}; better on ${integer(wins)}, worse on ${integer(losses)} of ${integer(windows)} windows)`;
  const bar = `promote.when.minGain ${minGain}`;
  if (promote) return `${measured}: the interval lies above ${bar}`;
  return low > minGain
    ? `${measured}: too few windows differ to tell`
    : `${measured}: the interval does not lie above ${bar}`;
}

function gainsOf(predictions: readonly PredictionRow[], metric: string): Float64Array {
  const [kind, k] = metric.split('@');
  return gains(
    predictions.map(({ rank }) => rank),
    Number(k),
    kind === 'ndcg' ? 'ndcg' : 'hr',
  );
}

function meanOf(values: Float64Array): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function requireSameWindows(challenger: readonly PredictionRow[], champion: readonly PredictionRow[]): void {
  const identify = (row: PredictionRow | undefined) =>
    row ? `${row.windowId} -> title row ${row.targetRow}` : 'nothing';
  const length = Math.max(challenger.length, champion.length);
  for (let row = 0; row < length; row++) {
    const [expected, received] = [identify(challenger[row]), identify(champion[row])];
    if (expected === received) continue;
    throw new SoftflowError(
      'JUDGE_WINDOWS',
      'Challenger and champion were not measured on the same windows and titles, so they cannot be compared.\n' +
        `Expected at row ${row} ${expected}\nReceived ${received}\nEvaluate both on one preparation of the data.`,
      { details: { row, expected, received } },
    );
  }
}
