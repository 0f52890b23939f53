import { describe, expect, it } from 'vitest';
import { plantedInteractions, plantedItems } from '../../datasets/planted.ts';
import { digestOfSource } from '../../datasets/sources/source.ts';
import { prepare, temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const PARAMS = { series: 70, minParts: 4, maxParts: 7, users: 400, seriesPerUser: 4, skip: 0.07, seed: 42 };

describe('planted data', () => {
  it('is a catalogue of differently named series with 4 to 7 parts', () => {
    const items = [...plantedItems(PARAMS)];
    const parts = new Map<string, number>();
    for (const { title } of items) {
      const [, name, part] = /^([A-Z][a-z]+ [A-Z][a-z]+), Part (\d+)$/.exec(title) as unknown as [
        string,
        string,
        string,
      ];
      expect(Number(part)).toBe((parts.get(name) ?? 0) + 1);
      parts.set(name, Number(part));
    }
    expect(parts.size).toBe(70);
    expect(new Set(parts.values())).toEqual(new Set([4, 5, 6, 7]));
    expect(new Set(items.map((item) => item.itemId)).size).toBe(items.length);
  });

  it('lets every user watch whole series in order, skipping about 7 % of the parts', () => {
    const length = new Map<string, number>();
    for (const { itemId } of plantedItems(PARAMS)) {
      const series = itemId.split('-')[0] as string;
      length.set(series, (length.get(series) ?? 0) + 1);
    }
    const byUser = groupByUser();
    expect(byUser.size).toBe(400);
    let [possible, watched] = [0, 0];
    for (const rows of byUser.values()) {
      const places = rows.map(({ itemId }) => itemId.split('-') as [string, string]);
      const order = places.map(([series]) => series).filter((series, i, all) => series !== all[i - 1]);
      expect(new Set(order).size).toBe(order.length);
      expect(order.length).toBeLessThanOrEqual(4);
      places.forEach(([series, part], i) => {
        const previous = places[i - 1];
        if (previous?.[0] === series) expect(part > (previous[1] as string)).toBe(true);
      });
      expect(rows.every((row, i) => i === 0 || row.timestamp > (rows[i - 1]?.timestamp ?? 0))).toBe(true);
      possible += order.reduce((sum, series) => sum + (length.get(series) as number), 0);
      watched += rows.length;
    }
    expect(1 - watched / possible).toBeGreaterThan(0.06);
    expect(1 - watched / possible).toBeLessThan(0.08);
  });

  it('depends on its seed and on nothing else', async () => {
    expect([...plantedInteractions(PARAMS)]).toEqual([...plantedInteractions({ ...PARAMS })]);
    expect([...plantedItems({ ...PARAMS, seed: 43 })]).not.toEqual([...plantedItems(PARAMS)]);
    expect(await digestOfSource({ planted: PARAMS })).toBe(await digestOfSource({ planted: { ...PARAMS } }));
    expect(await digestOfSource({ planted: PARAMS })).not.toBe(
      await digestOfSource({ planted: { ...PARAMS, seed: 43 } }),
    );
  });

  it('keeps all of its rows through preparation, and most targets are the next part of the last item', async () => {
    const data = await prepare({ planted: PARAMS }, folder, {
      kCore: 5,
      historyLength: 10,
      split: { train: 0.8, valid: 0.1 },
    });
    const { counts } = data.card;
    expect(counts).toMatchObject({
      rows: [...plantedInteractions(PARAMS)].length,
      users: 400,
      unreadable: 0,
      duplicate: 0,
    });
    const title = (item: number) => data.itemRows[item]?.title as string;
    const follows = data.test.filter(({ history, target }) => {
      const [name, part] = title(history.at(-1) as number).split(', Part ') as [string, string];
      return title(target) === `${name}, Part ${Number(part) + 1}`;
    });
    expect(follows.length / data.test.length).toBeGreaterThan(0.65);
  });

  it('refuses parameters that contradict each other', () => {
    for (const wrong of [{ series: 6000 }, { minParts: 9 }, { seriesPerUser: 71 }])
      expect(() => [...plantedItems({ ...PARAMS, ...wrong })]).toThrow(
        expect.objectContaining({ code: 'DATA_PLANTED' }),
      );
  });
});

function groupByUser() {
  const groups = new Map<string, { itemId: string; timestamp: number }[]>();
  for (const row of plantedInteractions(PARAMS)) {
    const rows = groups.get(row.userId) ?? [];
    rows.push(row);
    groups.set(row.userId, rows);
  }
  return groups;
}
