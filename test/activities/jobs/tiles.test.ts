import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { cutTiles, runTiles, type TiledWork } from '../../../activities/jobs/tiles.ts';
import { DrainedError } from '../../../activities/trainer-protocol.ts';
import { openStore, type Store } from '../../../artifacts/store.ts';
import { listTiles } from '../../../artifacts/tiles.ts';
import { until } from '../../support/until.ts';
import { contextOf, FINGERPRINT, stepInput } from './fixtures.ts';

let folder: string;
let store: Store;
let stores = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softflow-tiles-'));
});
beforeEach(async () => {
  store = await newStore();
});
afterAll(() => rm(folder, { recursive: true }));

const newStore = () => openStore(join(folder, `store-${stores++}`), { create: true });

const TILES = [[0, 3], [1, 2], [4], [5, 6], [7]];
const input = (circumstances = {}) => stepInput('encodeTitles', {}, { tileRows: 2 }, circumstances);

/** Work whose tile is the list of its rows, and which remembers what it computed. */
function work(tiles = TILES): TiledWork & { computed: string[] } {
  const computed: string[] = [];
  const compute = (rows: readonly number[]) => {
    computed.push(rows.join());
    return Buffer.from(rows.join());
  };
  return { tiles, unit: 'rows', compute, computed };
}

const texts = (tiles: Uint8Array[]) => tiles.map((bytes) => Buffer.from(bytes).toString());

describe('tiles', () => {
  it('are cut from the rows in the order of (token count, row)', () => {
    expect(cutTiles([5, 3, 9, 3, 1], 2)).toEqual([[4, 1], [3, 0], [2]]);
    expect(cutTiles([7, 7, 7], 8)).toEqual([[0, 1, 2]]);
    expect(cutTiles([], 4)).toEqual([]);
  });

  it('come back in their order, whatever they hold', async () => {
    const all = work();
    const done = await runTiles(input(), contextOf(store), all);
    expect(texts(done!.tiles)).toEqual(TILES.map((rows) => rows.join()));
    expect(done!.fingerprint).toEqual(FINGERPRINT);
    expect(done!.telemetry).toMatchObject({ resumes: 0, reusedRows: 0, unit: 'rows' });
  });

  it.each([1, 2, 7])(
    'are split over %i shards, each tile into one, and the last to end has them all',
    async (count) => {
      const mine: string[] = [];
      const results: (string[] | undefined)[] = [];
      for (let index = 0; index < count; index++) {
        const shard = input({ shard: { index, count } });
        const alone = work();
        await runTiles(shard, contextOf(await newStore()), alone);
        mine.push(...alone.computed);
        const done = await runTiles(shard, contextOf(store), work());
        results.push(done && texts(done.tiles));
      }
      const all = TILES.map((rows) => rows.join());
      expect(mine).toEqual(all);
      expect(results.at(-1)).toEqual(all);
      expect(results.filter(Boolean).length).toBe(1);
    },
  );
});

describe('when asked to stop', () => {
  it('it throws, keeps the finished tiles, and goes on with the missing ones', async () => {
    const first = work();
    const stopped = runTiles(input(), contextOf(store, { drainAt: 3 }), first);
    await expect(stopped).rejects.toThrow(new DrainedError('tile 3/5'));
    expect(first.computed).toEqual(['0,3', '1,2']);
    const second = work();
    const context = contextOf(store);
    const done = await runTiles(input(), context, second);
    expect(second.computed).toEqual(['4', '5,6', '7']);
    expect(texts(done!.tiles)).toEqual(TILES.map((rows) => rows.join()));
    expect(done!.telemetry).toMatchObject({ resumes: 1, reusedRows: 4 });
    expect(context.reported[0]).toMatchObject({ done: 4, total: 8 });
    expect(await store.readTelemetry(input().key)).toMatchObject([{ resumed: 'resumed, 4 of 8 rows reused' }]);
  });

  it('inside a tile, it loses that tile alone', async () => {
    const stepwise: TiledWork = {
      ...work(),
      compute: async (rows, beforeStep) => {
        await beforeStep();
        return Buffer.from(rows.join());
      },
    };
    // Each tile has a border before it and one inside: the fourth is inside of the second tile.
    await expect(runTiles(input(), contextOf(store, { drainAt: 4 }), stepwise)).rejects.toThrow('drained at tile 2/5');
    expect((await listTiles(store, input().key)).map(({ index }) => index)).toEqual([0]);
  });
});

describe('under another fingerprint', () => {
  const other = { backend: 'other', threads: '2' };
  beforeEach(async () => {
    await expect(runTiles(input(), contextOf(store, { drainAt: 2 }), work())).rejects.toThrow(DrainedError);
  });

  it('a half-done step is refused, with what has changed', async () => {
    const again = work();
    const refused = runTiles(input(), contextOf(store, { fingerprint: other }), again);
    await expect(refused).rejects.toMatchObject({
      code: 'FINGERPRINT_CHANGED',
      message: expect.stringContaining('backend: began with "test", now "other"'),
      details: { step: 'encodeTitles', changed: ['backend'] },
    });
    expect(again.computed).toEqual([]);
  });

  it('it goes on where that is allowed, and is labelled as mixed', async () => {
    const context = contextOf(store, { fingerprint: other });
    const done = await runTiles(input({ allowDifferentBackend: true }), context, work());
    expect(done!.fingerprint['mixed']).toContain('"backend":"other"');
    expect(done!.fingerprint['mixed']).toContain('"backend":"test"');
  });
});

it('reports no rate before it has computed a tile', async () => {
  const context = contextOf(store);
  await runTiles(input(), context, work());
  expect(context.reported.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5].map((n) => `tile ${n}/5`));
  expect(context.reported.map(({ done }) => done)).toEqual([0, 2, 4, 5, 7]);
  expect(context.reported[0]).not.toHaveProperty('rate');
  expect(context.reported[1]).toHaveProperty('rate');
});

describe('two runs at work on one step', () => {
  /** As the relay notes each attempt; the first is of `run-1`. */
  const begin = (runId: string) => store.addTelemetry(input().key, { runId, seconds: 0, resumes: 0, inputs: {} });

  it('begin at its two ends and take what the other has saved', async () => {
    const [first, second] = [work(), work()];
    await begin('run-1');
    await begin('run-2');
    let release = () => {};
    const others = new Promise<void>((resolve) => {
      release = resolve;
    });
    const meeting: TiledWork = {
      ...first,
      // The first run holds its second tile until the other has come to it from behind.
      compute: async (rows) => {
        if (rows === TILES[1]) await others;
        return first.compute(rows, async () => {});
      },
    };
    const mine = runTiles(input({ runId: 'run-1' }), contextOf(store), meeting);
    await until(async () => (await listTiles(store, input().key)).length === 1);
    const theirs = await runTiles(input({ runId: 'run-2' }), contextOf(store), second);
    release();
    const all = TILES.map((rows) => rows.join());
    expect(texts((await mine)!.tiles)).toEqual(all);
    expect(texts(theirs!.tiles)).toEqual(all);
    expect(first.computed).toEqual(['0,3', '1,2']);
    expect(second.computed).toEqual(['7', '5,6', '4', '1,2']);
  });

  it('and the one that began it goes on from where it was', async () => {
    await begin('run-1');
    await expect(runTiles(input({ runId: 'run-1' }), contextOf(store, { drainAt: 3 }), work())).rejects.toThrow();
    await begin('run-1');
    const again = work();
    await runTiles(input({ runId: 'run-1' }), contextOf(store), again);
    expect(again.computed).toEqual(['4', '5,6', '7']);
  });
});
