import { describe, expect, it } from 'vitest';
import type { WindowRow } from '../../datasets/schemas.ts';
import { sliceTable, sliceWindows } from '../../report/slices.ts';

/** Windows with these history lengths and target items. */
const windows = (rows: [length: number, target: number][]): WindowRow[] =>
  rows.map(([length, target], row) => ({
    windowId: `u:${row}`,
    userId: 'u',
    targetIndex: row,
    history: Array.from({ length }, () => 0),
    target,
    targetTimeMs: 0n,
  }));

/** Items 0 ... 4 with titles of their own whose popularity is 0, 1, 2, 7, 7. */
const items = [0, 1, 2, 3, 4].map((titleRow) => ({ titleRow }));
const titles = [0, 1, 2, 7, 7].map((popularity) => ({ popularity }));

describe('slices', () => {
  it('cut by value into about equal parts, equal values together, unseen targets apart', () => {
    const slices = sliceWindows(
      windows([
        [1, 0],
        [9, 1],
        [2, 2],
        [9, 3],
        [9, 4],
        [3, 0],
      ]),
      items,
      titles,
    );
    expect(slices).toEqual([
      { by: 'historyLength', label: '1-2', rows: [0, 2] },
      { by: 'historyLength', label: '3-9', rows: [1, 3, 4, 5] },
      { by: 'popularity', label: '0', rows: [0, 5] },
      { by: 'popularity', label: '1-2', rows: [1, 2] },
      { by: 'popularity', label: '7', rows: [3, 4] },
    ]);
  });

  it('is one slice where all values are equal, and holds each window once a kind', () => {
    const equal = windows(Array.from({ length: 5 }, () => [10, 3] as [number, number]));
    expect(sliceWindows(equal, items, titles)).toEqual([
      { by: 'historyLength', label: '10', rows: [0, 1, 2, 3, 4] },
      { by: 'popularity', label: '7', rows: [0, 1, 2, 3, 4] },
    ]);
    expect(sliceWindows([], items, titles)).toEqual([]);
  });

  it('measures each model on the windows of a slice alone', () => {
    const slices = [
      { by: 'popularity' as const, label: '0', rows: [0, 1] },
      { by: 'popularity' as const, label: '1-4', rows: [2, 3] },
    ];
    const table = sliceTable(
      slices,
      [
        { id: 'soft', ranks: [1, 20, 3, 4] },
        { id: 'sft', ranks: [30, 20, 30, 4] },
      ],
      { kind: 'hr', k: 10, seed: 42 },
    );
    expect(
      table.map(({ label, windows: count, cells }) => [label, count, cells.map(({ value }) => value.mean)]),
    ).toEqual([
      ['0', 2, [0, 0.5]],
      ['1-4', 2, [0.5, 1]],
    ]);
    expect(table[0]?.cells.map(({ model }) => model)).toEqual(['sft', 'soft']);
  });
});
