import { type Difference, MIN_DIFFERING_WINDOWS } from './bootstrap.ts';
import type { PairedSlice, RunComparison } from './compare.ts';
import { align, integer, plain, rate, shorten, signed } from './format.ts';
import { SLICE_LABELS } from './slices.ts';
import { MODEL_LABELS } from './summary-types.ts';

/** A comparison as lines of text: what differs in the recipes, the models, the slices. */
export function renderComparison(comparison: RunComparison): string[] {
  const { first, second, windows, titles, k } = comparison;
  return [
    `A  ${plain(first.runId)}`,
    `B  ${plain(second.runId)}`,
    `${integer(windows)} test windows, ${integer(titles)} titles to rank, the same for both; [ ] is the 95 % paired bootstrap interval of B - A.`,
    '',
    ...configLines(comparison),
    '',
    ...align([
      ['', `A`, `B`, 'B - A', 'interval', 'better/worse on', ''],
      ...comparison.results.map(({ model, kind, first: a, second: b, difference, verdict }) => [
        `${MODEL_LABELS[model]} ${kind.toUpperCase()}@${k}`,
        rate(a),
        rate(b),
        signed(difference.mean),
        `[${signed(difference.low)}, ${signed(difference.high)}]`,
        `${difference.wins}/${difference.losses}`,
        verdict,
      ]),
    ]),
    ...sliceLines(comparison.slices, k),
    ...noiseLines([...comparison.results, ...comparison.slices]),
  ];
}

function configLines({ config }: RunComparison): string[] {
  if (config.length === 0) return ['The recipes are the same.'];
  return align([
    ['recipe', 'A', 'B'],
    ...config.map(({ key, first, second }) => [plain(key), shown(first), shown(second)]),
  ]);
}

function sliceLines(slices: readonly PairedSlice[], k: number): string[] {
  if (slices.length === 0) return [];
  return [
    '',
    ...align([
      [`HR@${k} by slice`, '', 'windows', 'A', 'B', 'B - A', 'interval', ''],
      ...slices.map(({ by, label, windows, model, first, second, difference, verdict }) => [
        `${SLICE_LABELS[by]}: ${label}`,
        MODEL_LABELS[model],
        integer(windows),
        rate(first),
        rate(second),
        signed(difference.mean),
        `[${signed(difference.low)}, ${signed(difference.high)}]`,
        verdict,
      ]),
    ]),
  ];
}

/** Why a difference whose interval leaves 0 out is called noise. */
function noiseLines(pairs: readonly { difference: Difference }[]): string[] {
  const surprising = pairs.some(({ difference: { low, high, withinNoise } }) => withinNoise && (low > 0 || high < 0));
  if (!surprising) return [];
  return [
    '',
    `Within noise beside an interval without 0: fewer than ${MIN_DIFFERING_WINDOWS} windows differ, too few to tell.`,
  ];
}

const shown = (value: unknown): string => (value === undefined ? '-' : shorten(plain(JSON.stringify(value)), 40));
