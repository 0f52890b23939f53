import type { ItemRow, TitleRow, WindowRow } from '../datasets/schemas.ts';
import { bootstrapMean, type Interval } from './bootstrap.ts';
import { gains } from './metrics.ts';
import { type MetricKind, MODEL_IDS, type ModelId, type ModelSummary } from './summary-types.ts';

/** What test windows are told apart by: items in the history, or how often the true title is a target in training. */
export const SLICE_KINDS = ['historyLength', 'popularity'] as const;
export type SliceKind = (typeof SLICE_KINDS)[number];
export const SLICE_LABELS: Record<SliceKind, string> = {
  historyLength: 'items in the history',
  popularity: 'train windows with the same target title',
};

/** Test windows that belong together, by their row. */
export interface Slice {
  by: SliceKind;
  /** The values in it: `3`, `4-9`. */
  label: string;
  rows: number[];
}

/** A model on one slice. */
export interface SliceCell {
  model: ModelId;
  value: Interval;
}

/** One line of a slice table. */
export interface SliceRow {
  by: SliceKind;
  label: string;
  windows: number;
  cells: SliceCell[];
}

/** How many slices each kind is cut into, where the values differ enough. */
const PARTS = 3;

/**
 * The slices of the test windows: for each kind about equally many windows a slice, equal values always together, smallest
 * values first. A popularity of 0 is a slice of its own: such a title was never a target in training. The cut depends on
 * data alone, so that two runs on the same windows have the same slices.
 */
export function sliceWindows(
  windows: readonly WindowRow[],
  items: readonly Pick<ItemRow, 'titleRow'>[],
  titles: readonly Pick<TitleRow, 'popularity'>[],
): Slice[] {
  const popularity = windows.map(({ target }) => titles[items[target]?.titleRow ?? -1]?.popularity ?? 0);
  const rowsWhere = (holds: (value: number) => boolean) =>
    popularity.flatMap((value, row) => (holds(value) ? [row] : []));
  const values = windows.map(({ history }) => history.length);
  const unseen = rowsWhere((value) => value === 0);
  return [
    ...cut(
      'historyLength',
      values.map((_, row) => row),
      values,
    ),
    ...(unseen.length > 0 ? [{ by: 'popularity' as const, label: '0', rows: unseen }] : []),
    ...cut(
      'popularity',
      rowsWhere((value) => value > 0),
      popularity,
    ),
  ];
}

/** Mean gain with its bootstrap interval of each model on each slice. */
export function sliceTable(
  slices: readonly Slice[],
  models: readonly Pick<ModelSummary, 'id' | 'ranks'>[],
  { kind, k, seed }: { kind: MetricKind; k: number; seed: number },
): SliceRow[] {
  const shown = MODEL_IDS.flatMap((id) => models.filter((model) => model.id === id));
  return slices.map(({ by, label, rows }) => ({
    by,
    label,
    windows: rows.length,
    cells: shown.map(({ id, ranks }) => ({
      model: id,
      value: bootstrapMean(
        gains(
          rows.map((row) => ranks[row] as number),
          k,
          kind,
        ),
        { seed },
      ),
    })),
  }));
}

/** Cuts rows by their values: a slice ends where it has its share and the next value is another. */
function cut(by: SliceKind, rows: readonly number[], values: readonly number[]): Slice[] {
  const order = [...rows].sort((a, b) => (values[a] as number) - (values[b] as number) || a - b);
  const slices: Slice[] = [];
  let from = 0;
  for (let at = 1; at <= order.length; at++) {
    const ends = at === order.length || values[order[at] as number] !== values[order[at - 1] as number];
    if (!ends || (at < order.length && at < ((slices.length + 1) * order.length) / PARTS)) continue;
    slices.push({ by, label: rangeLabel(order.slice(from, at), values), rows: order.slice(from, at).sort(ascending) });
    from = at;
  }
  return slices;
}

function rangeLabel(rows: readonly number[], values: readonly number[]): string {
  const first = values[rows[0] as number];
  const last = values[rows.at(-1) as number];
  return first === last ? `${first}` : `${first}-${last}`;
}

const ascending = (a: number, b: number): number => a - b;
