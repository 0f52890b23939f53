import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { csvPair, interactionsCsv, itemsCsv, prepare, temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();

/** Users a (4 windows), b (a short one), c (a single row) and d (exactly history + 1 rows, all at one time). */
const WINDOWS = interactionsCsv([
  ['a', 'i0', 1],
  ['a', 'i1', 2],
  ['a', 'i2', 3],
  ['a', 'i3', 4],
  ['a', 'i4', 5],
  ['a', 'i5', 6],
  ['b', 'i0', 10],
  ['b', 'i3', 11],
  ['c', 'i1', 12],
  ['d', 'i5', 20],
  ['d', 'i4', 20],
  ['d', 'i3', 20],
]);
const SIX_ITEMS = itemsCsv(['i0', 'i1', 'i2', 'i3', 'i4', 'i5']);

describe('k-core', () => {
  it('drops rows of rare users and items until nothing changes, and counts every drop', async () => {
    const source = await csvPair(
      folder,
      interactionsCsv([
        ['a', 'x', 10],
        ['a', 'y', 20],
        ['a', 'z', 20],
        ['a', 'w', 30],
        ['b', 'x', 15],
        ['b', 'y', 25],
        ['b', 'z', 40],
        ['c', 'x', 5],
        ['c', 'x', 5],
        ['c', 'q', 50],
        ['d', 'w', 60],
        ['e', 'x', 70],
        ['e', 'y', 80],
        ['e', 'z', 90],
        ['e', 'untitled', 91],
      ]),
      itemsCsv(['q', 'w', 'x', 'y', 'z']),
    );
    const data = await prepare(source, folder, { kCore: 2, split: { train: 0.4, valid: 0.3 } });
    // Round 1 drops d and q, which leaves c and w with one row each for round 2.
    expect(data.card.counts).toMatchObject({
      rows: 15,
      duplicate: 1,
      noTitle: 1,
      itemsWithoutTitle: 1,
      belowCore: 4,
      coreRounds: 2,
      kept: 9,
      users: 3,
      items: 3,
      windows: 3,
    });
    expect(data.itemRows.map((item) => item.itemId)).toEqual(['x', 'y', 'z']);
    expect(data.train.map((window) => window.windowId)).toEqual(['a:2']);
    // y and z of user a share their time: the row that comes first in the file is the earlier one.
    expect(data.train[0]).toMatchObject({ history: [0, 1], target: 2, targetTimeMs: 20_000n });
  });
});

describe('windows', () => {
  it('cuts one window a target, one shorter window for a short user, none for a single row', async () => {
    const data = await prepare(await csvPair(folder, WINDOWS, SIX_ITEMS), folder);
    const ids = (windows: { windowId: string }[]) => windows.map((window) => window.windowId).sort();
    expect(ids(data.train)).toEqual(['a:2', 'a:3', 'a:4']);
    expect(ids(data.valid)).toEqual(['a:5']);
    expect(ids(data.test)).toEqual(['b:1', 'd:2']);
    expect(data.card.counts).toMatchObject({ windows: 6, shortUsers: 1, usersWithoutHistory: 1 });
    const byId = new Map([...data.train, ...data.valid, ...data.test].map((window) => [window.windowId, window]));
    expect(byId.get('a:4')).toEqual({
      windowId: 'a:4',
      userId: 'a',
      targetIndex: 4,
      history: [2, 3],
      target: 4,
      targetTimeMs: 5000n,
    });
    expect(byId.get('b:1')).toMatchObject({ history: [0], target: 3 });
    expect(byId.get('d:2')).toMatchObject({ history: [5, 4], target: 3 });
    expect(data.card.ties).toEqual({ rows: 3, rule: 'time, then source row' });
    expect(data.card.times).toEqual({
      first: '1970-01-01T00:00:01.000Z',
      last: '1970-01-01T00:00:20.000Z',
      valid: '1970-01-01T00:00:06.000Z',
      test: '1970-01-01T00:00:11.000Z',
    });
  });

  it('cuts windows of equal time by the source row of their target', async () => {
    const rows = ['p', 'q', 'r', 's'].flatMap((user): [string, string, number][] => [
      [user, 'i0', 1],
      [user, 'i1', 7],
    ]);
    const data = await prepare(await csvPair(folder, interactionsCsv(rows.reverse()), SIX_ITEMS), folder);
    expect(data.train.map((window) => window.userId).sort()).toEqual(['r', 's']);
    expect(data.valid.map((window) => window.userId)).toEqual(['q']);
    expect(data.test.map((window) => window.userId)).toEqual(['p']);
  });

  it('cuts at the floor of the shares although 0.7 + 0.1 is less than 0.8 in binary', async () => {
    const rows = Array.from({ length: 10 }, (_, i): [string, string, number][] => [
      [`u${i}`, 'i0', i],
      [`u${i}`, 'i1', 100 + i],
    ]).flat();
    const source = await csvPair(folder, interactionsCsv(rows), SIX_ITEMS);
    const data = await prepare(source, folder, { split: { train: 0.7, valid: 0.1 } });
    expect([data.train.length, data.valid.length, data.test.length]).toEqual([7, 1, 2]);
  });

  it('samples the first windows by the hash of seed and window id, and lists them in that order', async () => {
    const rows = Array.from({ length: 40 }, (_, i): [string, string, number] => ['u', `i${i % 6}`, i]);
    const source = await csvPair(folder, interactionsCsv(rows), SIX_ITEMS);
    const split = { train: 0.5, valid: 0.25 };
    const all = await prepare(source, folder, { split, seed: 7 });
    const some = await prepare(source, folder, { split, seed: 7, samples: { train: 5, valid: 2, test: 3 } });
    const draw = (id: string) => createHash('sha256').update(`7:${id}`).digest('hex').slice(0, 16);
    // 38 windows, targets 2 to 39: the first 19 of them train.
    const expected = Array.from({ length: 19 }, (_, i) => `u:${i + 2}`).sort((a, b) => (draw(a) < draw(b) ? -1 : 1));
    expect(all.train.map((window) => window.windowId)).toEqual(expected);
    expect(some.train.map((window) => window.windowId)).toEqual(expected.slice(0, 5));
    expect(some.result.windows).toEqual({ train: 5, valid: 2, test: 3 });
    expect(some.card.counts).toMatchObject({ windowsTrain: 19, windowsValid: 9, windowsTest: 10 });
    const other = await prepare(source, folder, { split, seed: 8 });
    expect(other.train.map((window) => window.windowId)).not.toEqual(expected);
  });
});

describe('catalogue', () => {
  it('orders items by the bytes of their id and collapses equal titles to the first item', async () => {
    const ids = ['10', '9', 'é', 'z', 'Z', '\u{1d11e}', '\uffee'];
    const rows = ids.flatMap((id, i): [string, string, number][] => [
      ['a', id, i],
      ['b', id, 100 + i],
    ]);
    const items = `item_id,title\n10,Same\n9,Nine\né,E\nz, Same \nZ,Zed\n\u{1d11e},Clef\n\uffee,Circle\n`;
    const data = await prepare(await csvPair(folder, interactionsCsv(rows), items), folder);
    expect(data.itemRows.map((item) => item.itemId)).toEqual(['10', '9', 'Z', 'z', 'é', '\uffee', '\u{1d11e}']);
    expect(data.itemRows.map((item) => item.titleRow)).toEqual([0, 1, 2, 0, 3, 4, 5]);
    expect(data.titleRows.map(({ title, firstItem }) => [title, firstItem])).toEqual([
      ['Same', 0],
      ['Nine', 1],
      ['Zed', 2],
      ['E', 4],
      ['Circle', 5],
      ['Clef', 6],
    ]);
    expect(data.card.titleCollisions).toEqual({ titles: 1, items: 2, examples: ['Same'] });
  });

  it('counts popularity over all train windows, by title, before sampling', async () => {
    const source = await csvPair(
      folder,
      interactionsCsv(Array.from({ length: 22 }, (_, i): [string, string, number] => ['u', `i${i % 3}`, i])),
      'item_id,title\ni0,Same\ni1,Other\ni2,Same\n',
    );
    const data = await prepare(source, folder, { samples: { train: 1, valid: 1, test: 1 } });
    // 20 windows with targets 2 to 21; train are targets 2 to 11: i2 and i0 seven times, i1 three times.
    expect(data.titleRows).toEqual([
      { title: 'Same', firstItem: 0, popularity: 7 },
      { title: 'Other', firstItem: 1, popularity: 3 },
    ]);
  });

  it('uses the id for a missing title, or stops, as told', async () => {
    const source = await csvPair(folder, WINDOWS, 'item_id,title\ni0,A\ni1,\ni2,C\ni3,D\ni4,E\n');
    const kept = await prepare(source, folder, {
      title: { clean: true, year: 'keep', article: 'keep', missing: 'id' },
    });
    expect(kept.itemRows.map((item) => item.title)).toEqual(['A', 'i1', 'C', 'D', 'E', 'i5']);
    const title = { clean: true, year: 'keep', article: 'keep', missing: 'error' } as const;
    await expect(prepare(source, folder, { title })).rejects.toMatchObject({
      code: 'DATA_NO_TITLES',
      message: expect.stringContaining('2 have none, such as "i1", "i5"'),
    });
  });
});

describe('interactions', () => {
  it('come in the order of time and source row, with their item rows', async () => {
    const data = await prepare(await csvPair(folder, WINDOWS, SIX_ITEMS), folder);
    const { userId, item, timeMs, sourceRow, rating } = data.rows.columns;
    expect(userId).toEqual(['a', 'a', 'a', 'a', 'a', 'a', 'b', 'b', 'c', 'd', 'd', 'd']);
    expect(Array.from(item as Int32Array)).toEqual([0, 1, 2, 3, 4, 5, 0, 3, 1, 5, 4, 3]);
    expect(Array.from(sourceRow as BigInt64Array)).toEqual(Array.from({ length: 12 }, (_, i) => BigInt(i)));
    expect((timeMs as BigInt64Array)[11]).toBe(20_000n);
    expect((rating as Float64Array)[0]).toBeNaN();
  });

  it('are kept at or above the least rating, without exact duplicates', async () => {
    const text = `user_id,item_id,stars,timestamp
u,i0,5,1
u,i0,5,1
u,i0,4,1
u,i1,3.5,2
u,i2,2,3
u,i3,4,4
u,i4,4,5
u,i5,4,6
`;
    const source = await csvPair(folder, text, SIX_ITEMS, {
      columns: {
        user: 'user_id',
        item: 'item_id',
        rating: 'stars',
        time: 'timestamp',
        itemsItem: 'item_id',
        title: 'title',
      },
    });
    const data = await prepare(source, folder, { ratingMin: 3.5 });
    expect(data.card.counts).toMatchObject({ rows: 8, duplicate: 1, belowRating: 1, kept: 6 });
    expect(Array.from(data.rows.columns['rating'] as Float64Array)).toEqual([5, 4, 3.5, 4, 4, 4]);
  });

  it('have their times read as seconds or milliseconds by what most rows look like', async () => {
    const rows = (times: (number | string)[]) =>
      interactionsCsv(times.map((time, i): [string, string, number | string] => ['u', `i${i}`, time]));
    const ms = await csvPair(folder, rows([1.6e12, 1.6e12 + 1, 1.6e12 + 2, 1.6e12 + 3, 5, 6]), SIX_ITEMS);
    expect((await prepare(ms, folder)).card.timeUnit).toBe('ms');
    const s = await csvPair(folder, rows([1.6e9, '1.6e9', 1600000000.25, 1.6e9 + 2, -1, 0]), SIX_ITEMS);
    const data = await prepare(s, folder);
    expect(data.card.timeUnit).toBe('s');
    expect(Array.from(data.rows.columns['timeMs'] as BigInt64Array)).toEqual([
      -1000n,
      0n,
      1600000000000n,
      1600000000000n,
      1600000000250n,
      1600000002000n,
    ]);
    expect((await prepare(s, folder, { timeUnit: 'ms' })).card.times.last).toBe('1970-01-19T12:26:40.002Z');
  });
});

describe('determinism', () => {
  it('makes the same bytes with one thread and with four', async () => {
    const planted = { series: 60, minParts: 3, maxParts: 9, users: 6000, seriesPerUser: 5, skip: 0.2, seed: 1 };
    const params = { kCore: 5, historyLength: 10, split: { train: 0.8, valid: 0.1 } };
    const [one, four] = [await prepare({ planted }, folder, params, 1), await prepare({ planted }, folder, params, 4)];
    expect(one.card.counts['kept']).toBeGreaterThan(100_000);
    for (const table of ['interactionBytes', 'items', 'titles', 'windowsTrain', 'windowsValid', 'windowsTest'] as const)
      expect(Buffer.compare(one[table], four[table]), table).toBe(0);
    expect(JSON.stringify(one.card)).toBe(JSON.stringify(four.card));
  });

  it('leaves nothing of its database behind', async () => {
    const own = await temporaryFolder();
    await prepare(await csvPair(folder, WINDOWS, SIX_ITEMS), own);
    expect(await readdir(own)).toEqual(['interactions.arrow']);
  });
});

describe('bad input', () => {
  it('says how many rows are left when no window can be cut, and what to change', async () => {
    const source = await csvPair(folder, WINDOWS, SIX_ITEMS);
    await expect(prepare(source, folder, { kCore: 10 })).rejects.toMatchObject({
      code: 'DATA_NO_WINDOWS',
      message: expect.stringMatching(
        /found 0, 0 and 0; after the 10-core 0 interactions of 0 users .* Lower `data.kCore`/,
      ),
    });
  });

  it('names ids of both files when not a single item has a title', async () => {
    const source = await csvPair(folder, WINDOWS, itemsCsv(['0', '1']));
    await expect(prepare(source, folder)).rejects.toMatchObject({
      code: 'DATA_NO_TITLES',
      message: expect.stringMatching(
        /6 have none, such as "i0", "i1", "i2", while the file holds ids such as "0", "1"/,
      ),
    });
  });

  it('refuses a least rating without a rating column', async () => {
    const source = await csvPair(folder, WINDOWS, SIX_ITEMS);
    await expect(prepare(source, folder, { ratingMin: 3 })).rejects.toMatchObject({ code: 'DATA_COLUMN_MISSING' });
  });

  it('counts unusable rows by reason and fails above the allowed share, naming lines', async () => {
    const text = `${WINDOWS}u,i0\n,i1,3\nu,i1,soon\nu,i2,inf\nu,i3,1e300\n`;
    const source = await csvPair(folder, text, SIX_ITEMS);
    const data = await prepare(source, folder, { maxBadRows: 0.5 });
    expect(data.card.counts).toMatchObject({ rows: 17, unreadable: 1, missingId: 1, badTime: 3, kept: 12 });
    await expect(prepare(source, folder, { maxBadRows: 0.2 })).rejects.toMatchObject({
      code: 'DATA_BAD_ROWS',
      message: expect.stringMatching(
        /5 of 17 rows of .*interactions.csv .*unreadable 1, missingId 1, badTime 3.*line 14/,
      ),
    });
  });

  it('stops when it is told to', async () => {
    const source = await csvPair(folder, WINDOWS, SIX_ITEMS);
    const { prepareData } = await import('../../datasets/prepare.ts');
    const { PARAMS } = await import('./fixtures.ts');
    const controller = new AbortController();
    const options = {
      tmpDir: folder,
      memoryLimit: '500MB',
      threads: 1,
      signal: controller.signal,
      onProgress: ({ done }: { done: number }) => done === 3 && controller.abort(),
    };
    await expect(prepareData(source, PARAMS, options)).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});
