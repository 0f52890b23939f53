import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { WindowRow } from '../../datasets/schemas.ts';
import type { DataSource, ResolvedDataSource } from '../../datasets/sources/source.ts';
import { COLUMNS, csvPair, interactionsCsv, itemsCsv, prepare, prepareAsOf, temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const DAY = 86_400;
const START = Date.UTC(2026, 0, 1) / 1000;
/** Noon of a day of January 2026, in seconds; `at(3)` is the 4th. */
const at = (day: number) => START + day * DAY + DAY / 2;
/** The end of a day. */
const end = (day: number) => new Date((START + (day + 1) * DAY) * 1000).toISOString();
const ids = (windows: WindowRow[]) => windows.map(({ windowId }) => windowId).sort();
const TRAINED = ['items', 'titles', 'windowsTrain', 'windowsValid'] as const;

type Rows = [string, string, number][];
/** Twelve users who each take one of eight items a day, `days` of them. */
function daily(days: number, users = 12): Rows {
  const rows: Rows = [];
  for (let day = 0; day < days; day++)
    for (let user = 0; user < users; user++) rows.push([`u${user}`, `i${(user * 3 + day * day) % 8}`, at(day) + user]);
  return rows;
}
const ITEMS = itemsCsv(Array.from({ length: 12 }, (_, i) => `i${i}`));
const source = (rows: Rows, items = ITEMS) => csvPair(folder, interactionsCsv(rows), items);
const PARAMS = { kCore: 2, split: { train: 0.6, valid: 0.2 } };

describe('asOf', () => {
  it('gives what a source gave that ended there, whatever has been added since', async () => {
    const early = await prepare(await source(daily(6)), folder, PARAMS);
    const asOf = end(5);
    const then = await prepareAsOf(await source(daily(6)), folder, { ...PARAMS, asOf });
    const rows = [...daily(9), ['new', 'i9', at(8)] satisfies Rows[number]];
    const later = await prepareAsOf(await source(rows), folder, { ...PARAMS, asOf });
    for (const table of [...TRAINED, 'windowsTest', 'interactionBytes'] as const) {
      expect(Buffer.compare(then[table], early[table]), table).toBe(0);
      expect(Buffer.compare(later[table], early[table]), table).toBe(0);
    }
    expect(later.digest).toBe(then.digest);
    expect(later.card).toEqual(then.card);
    expect(then.leftOut).toEqual({ afterAsOf: 0, knownLater: 0, withoutTime: 0, tornBytes: 0 });
    expect(later.leftOut).toMatchObject({ afterAsOf: 37 });
    expect(later.card).toMatchObject({ source: { kind: 'csv', digest: later.digest }, params: { asOf } });
  });

  it('takes the row of its very moment and no later one', async () => {
    const rows = daily(5);
    const last = rows.at(-1) as Rows[number];
    const cut = (ms: number) => new Date(last[2] * 1000 + ms).toISOString();
    const exact = await prepareAsOf(await source(rows), folder, { ...PARAMS, asOf: cut(0) });
    expect(exact.leftOut.afterAsOf).toBe(0);
    const before = await prepareAsOf(await source(rows), folder, { ...PARAMS, asOf: cut(-1) });
    expect(before.leftOut.afterAsOf).toBe(1);
    expect(before.card.counts['rows']).toBe(rows.length - 1);
  });

  it('with knownAt leaves out what arrived later, although it had happened', async () => {
    const lines = daily(6).map(([user, item, time], i) => {
      const arrived = i % 10 === 0 ? at(8) * 1000 : time * 1000;
      return `${user},${item},${time},${arrived}`;
    });
    const text = `user_id,item_id,timestamp,arrived\n${lines.join('\n')}\n`;
    const grown = await csvPair(folder, text, ITEMS);
    const params = { ...PARAMS, asOf: end(5) };
    const all = await prepareAsOf(grown, folder, params);
    const known = await prepareAsOf(grown, folder, { ...params, knownAt: 'arrived' });
    expect(all.card.counts['rows']).toBe(72);
    expect(known.card.counts['rows']).toBe(64);
    expect(known.leftOut).toMatchObject({ afterAsOf: 0, knownLater: 8 });
    await expect(prepareAsOf(grown, folder, { ...params, knownAt: 'nowhere' })).rejects.toMatchObject({
      code: 'DATA_COLUMN_MISSING',
      message: expect.stringContaining('"nowhere"'),
    });
  });

  it('is the same preparation for every kind of file, ratings, years and odd characters among them', async () => {
    const far = { ...PARAMS, asOf: '2100-01-01T00:00:00Z' };
    const same = async (given: DataSource, params = {}) => {
      const [direct, cut] = [
        await prepare(given as ResolvedDataSource, folder, { ...PARAMS, ...params }),
        await prepareAsOf(given, folder, { ...far, ...params }),
      ];
      for (const table of [...TRAINED, 'windowsTest', 'interactionBytes'] as const)
        expect(Buffer.compare(cut[table], direct[table]), table).toBe(0);
      const { itemRows: _, ...counts } = direct.card.counts;
      expect(cut.card.counts).toMatchObject(counts);
    };
    await same({ planted: { series: 9, minParts: 3, maxParts: 5, users: 40, seriesPerUser: 2, skip: 0.1, seed: 3 } });

    const rated = daily(6).map(([user, item, time], n) => `${user},${item},${time},${(n % 9) / 2}`);
    const text = `user_id,item_id,timestamp,stars\n${rated.join('\n')}\n`;
    const odd = ITEMS.replace('T i1\n', '"T, ""i1""\nin two lines"\n').replace('T i2', '千と千尋');
    const columns = { ...COLUMNS, rating: 'stars' };
    await same(await csvPair(folder, text, odd, { columns }), { ratingMin: 1, kCore: 1 });

    const inter = daily(6).map((row) => row.join('\t'));
    await writeFile(join(folder, 'x.inter'), `user_id:token\titem_id:token\ttimestamp:float\n${inter.join('\n')}\n`);
    const titles = Array.from({ length: 8 }, (_, i) => `i${i}\t"Film" ${i}, The\t${1990 + i}`);
    await writeFile(
      join(folder, 'x.item'),
      `item_id:token\tmovie_title:token_seq\trelease_year:token\n${titles.join('\n')}\n`,
    );
    await same({ recbole: { folder, name: 'x', titleField: 'movie_title', yearField: 'release_year' } });
  });

  it('says how much lies behind it when nothing lies before', async () => {
    await expect(
      prepareAsOf(await source(daily(3)), folder, { ...PARAMS, asOf: '2025-12-31T00:00:00Z' }),
    ).rejects.toMatchObject({ code: 'DATA_EMPTY', message: expect.stringContaining('36 are later') });
  });

  it('is refused on a source that is no snapshot, rather than passed over', async () => {
    await expect(prepare(await source(daily(3)), folder, { ...PARAMS, asOf: end(1) })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    });
  });

  it('keeps rows without ids for the count of bad rows, and none whose time cannot be read', async () => {
    const text = `${interactionsCsv(daily(6))},i1,${at(1)}\nu1,i1,soon\nu1,i1,${at(20)}\nx,y\n`;
    const grown = await csvPair(folder, text, ITEMS);
    const data = await prepareAsOf(grown, folder, { ...PARAMS, asOf: end(6), maxBadRows: 0.1 });
    expect(data.leftOut).toEqual({ afterAsOf: 1, knownLater: 0, withoutTime: 2, tornBytes: 0 });
    expect(data.card.counts).toMatchObject({ rows: 73, missingId: 1, badTime: 0, unreadable: 0, kept: 72 });
    await expect(prepareAsOf(grown, folder, { ...PARAMS, asOf: end(6) })).rejects.toMatchObject({
      code: 'DATA_BAD_ROWS',
      message: expect.stringMatching(/3 of 76 rows of .*interactions\.csv .*line 77/),
    });
  });
});

describe('trainUntil and testAfter', () => {
  it('make training blind to what follows: other later rows, the same bytes', async () => {
    const trainUntil = end(5);
    const few = await prepare(await source(daily(7)), folder, { ...PARAMS, trainUntil });
    const later: Rows = [
      ...daily(10),
      ['u0', 'i11', at(7)],
      ['u99', 'i1', at(8)],
      ...Array.from({ length: 5 }, (_, i): Rows[number] => ['u1', 'i10', at(9) + 100 + i]),
    ];
    const many = await prepare(await source(later), folder, { ...PARAMS, trainUntil });
    const none = await prepare(await source(daily(6)), folder, { ...PARAMS, trainUntil });
    for (const table of TRAINED) {
      expect(Buffer.compare(many[table], few[table]), table).toBe(0);
      expect(Buffer.compare(none[table], few[table]), table).toBe(0);
    }
    expect(many.card.windowsDigest).toBe(few.card.windowsDigest);
    expect([none.test.length, few.test.length, many.test.length]).toEqual([0, 12, 48]);
    expect(none.card.times.test).toBeNull();
  });

  it('put each target into its period, the pool split in the ratio of the shares', async () => {
    const [trainUntil, testAfter] = [end(5), end(7)];
    const data = await prepareAsOf(await source(daily(12)), folder, { ...PARAMS, trainUntil, testAfter, asOf: end(9) });
    const times = (windows: WindowRow[]) => windows.map(({ targetTimeMs }) => Number(targetTimeMs));
    const [train, valid, test] = [times(data.train), times(data.valid), times(data.test)];
    // Days 2 to 5 of 12 users: 48 windows up to trainUntil, of which 0.6 : 0.2 train and validate.
    expect([train.length, valid.length, test.length]).toEqual([36, 12, 24]);
    expect(Math.max(...train)).toBeLessThanOrEqual(Math.min(...valid));
    expect(Math.max(...valid)).toBeLessThanOrEqual(Date.parse(trainUntil));
    expect(Math.min(...test)).toBeGreaterThan(Date.parse(testAfter));
    expect(Math.max(...test)).toBeLessThanOrEqual(Date.parse(end(9)));
    expect(data.card.counts).toMatchObject({ windows: 72, windowsTrain: 36, windowsValid: 12, windowsTest: 24 });
    // What happened between training and a target is known when the question is asked.
    const window = data.test.find(({ windowId }) => windowId === 'u0:8');
    expect(window?.history.map((item) => data.itemRows[item]?.itemId)).toEqual(['i4', 'i1']);
  });

  it('keep the short window of a user who comes back after training', async () => {
    const rows: Rows = [...daily(6), ['short', 'i1', at(1)], ['short', 'i2', at(2)]];
    const back: Rows = [...rows, ['short', 'i3', at(8)]];
    const params = { ...PARAMS, historyLength: 3, trainUntil: end(5) };
    const before = await prepare(await source(rows), folder, params);
    const after = await prepare(await source(back), folder, params);
    expect([...ids(before.train), ...ids(before.valid)]).toContain('short:1');
    expect(Buffer.compare(after.windowsTrain, before.windowsTrain)).toBe(0);
    expect(ids(after.test)).toEqual(['short:2']);
  });

  it('count what cannot be ranked or is of nobody known, and leave it out of histories too', async () => {
    const later: Rows = [
      ...daily(7),
      ['u0', 'i10', at(6) + 200],
      ['u0', 'i1', at(7)],
      ['u1', 'i10', at(8)],
      ['stranger', 'i1', at(8)],
    ];
    const data = await prepare(await source(later), folder, { ...PARAMS, trainUntil: end(5), testAfter: end(6) });
    expect(data.card.counts).toMatchObject({
      kept: 72,
      users: 12,
      items: 8,
      later: 16,
      laterOtherUser: 1,
      laterOtherItem: 2,
      targetsOutsideCatalogue: 1,
    });
    expect(data.itemRows.map(({ itemId }) => itemId)).not.toContain('i10');
    expect(ids(data.test)).toEqual(['u0:7']);
    const history = data.test[0]?.history.map((item) => data.itemRows[item]?.itemId);
    expect(history).toEqual(['i1', 'i4']);
  });

  it('say so when nothing can be trained on', async () => {
    await expect(
      prepare(await source(daily(6)), folder, { ...PARAMS, trainUntil: '2025-12-31T00:00:00Z' }),
    ).rejects.toMatchObject({
      code: 'DATA_NO_WINDOWS',
      message: expect.stringMatching(/to train and validate, found 0, 0 and 0.*trainUntil 2025/),
    });
  });
});

describe('the digest of the windows', () => {
  const params = { ...PARAMS, trainUntil: end(5) };
  const digest = async (rows: Rows, items = ITEMS) =>
    (await prepare(await source(rows, items), folder, params)).card.windowsDigest;

  it('stays while nothing new may be learnt, and changes with a row, a target or a title', async () => {
    const base = await digest(daily(6));
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    expect(await digest(daily(9))).toBe(base);
    expect(await digest([...daily(6), ['u3', 'i5', at(5) + 50]])).not.toBe(base);
    expect(await digest(daily(6).map(([u, i, t], n) => (n === 70 ? [u, 'i6', t] : [u, i, t])))).not.toBe(base);
    expect(await digest(daily(6), ITEMS.replace('T i1', 'New name'))).not.toBe(base);
  });

  it('does not change with the rows of the tables, which an item that nobody trains on would shift', async () => {
    const early = itemsCsv(Array.from({ length: 12 }, (_, i) => `i${i}`));
    const base = await prepare(await source(daily(6), early), folder, {
      ...params,
      samples: { train: 1, valid: 1, test: 1 },
    });
    const extra: Rows = [
      ['late', 'a0', at(0)],
      ['late', 'a0', at(0) + 1],
    ];
    const shifted = await prepare(await source([...extra, ...daily(6)], `${early}a0,First\n`), folder, {
      ...params,
      samples: { train: 1, valid: 1, test: 1 },
    });
    expect(shifted.itemRows[0]?.itemId).toBe('a0');
    expect(Buffer.compare(shifted.windowsTrain, base.windowsTrain)).not.toBe(0);
    expect(shifted.card.windowsDigest).toBe(base.card.windowsDigest);
  });
});
