import { describe, expect, it } from 'vitest';
import { findMovielens100k } from '../../setup/data-source.ts';
import { prepare, temporaryFolder } from './fixtures.ts';

const cached = await findMovielens100k();
const folder = await temporaryFolder();
const PARAMS = {
  title: { clean: true, year: 'strip', article: 'restore', missing: 'drop' },
  historyLength: 10,
  split: { train: 0.8, valid: 0.1 },
  samples: { train: 4096, valid: 512, test: 1000 },
} as const;

describe.skipIf(!cached)('MovieLens-100K from the cache', () => {
  const source = {
    recbole: { folder: cached ?? '', name: 'ml-100k', titleField: 'movie_title', yearField: 'release_year' },
  };

  it.each([
    [10, 1152, 97_953, 88_523],
    [5, 1349, 99_287, 89_857],
    [1, 1682, 100_000, 90_570],
  ])('has the known counts at core %i', async (kCore, items, kept, windows) => {
    const data = await prepare(source, folder, { ...PARAMS, kCore });
    expect(data.card.counts).toMatchObject({ rows: 100_000, duplicate: 0, users: 943, items, kept, windows });
    expect(data.card.counts['windowsTrain']).toBe(Math.floor(windows * 0.8));
    expect([data.train.length, data.valid.length, data.test.length]).toEqual([4096, 512, 1000]);
    if (kCore === 1) {
      expect(data.card.ties.rows).toBe(75_772);
      expect(data.card.titleCollisions).toMatchObject({ titles: 22, items: 45 });
      expect(data.titleRows.length).toBe(1682 - 45 + 22);
    }
  });

  it('has readable titles without year and with the article in front', async () => {
    const data = await prepare(source, folder, { ...PARAMS, kCore: 10 });
    const titles = new Set(data.titleRows.map(({ title }) => title));
    for (const title of ['The Usual Suspects', 'Toy Story', 'An American Werewolf in London', 'Il Postino'])
      expect(titles).toContain(title);
    expect([...titles].filter((title) => /, (The|A|An)$/.test(title))).toEqual([]);
    const history = data.train.every((window) => window.history.length === 10);
    expect(history).toBe(true);
    expect(data.train.every((window) => window.targetTimeMs <= BigInt(Date.parse(data.card.times.valid)))).toBe(true);
  });
});
