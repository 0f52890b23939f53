import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sources } from '../../activities/contracts.ts';
import { cpuStep } from '../../activities/cpu-step.ts';
import { prepareData } from '../../activities/prepare-data.ts';
import { type Places, sourceResolver } from '../../activities/resolve-sources.ts';
import { keyOfStep } from '../../activities/step-result.ts';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { snapshotSource } from '../../datasets/snapshot.ts';
import type { DataSource, PostgresSource } from '../../datasets/sources/source.ts';
import { decodeWindows } from '../../datasets/tables.ts';
import { writeTinyModel } from '../../model/tiny-model.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { sourceNames, stepParams } from '../../workflows/step-params.ts';
import { freePort, type PostgresServer, postgresFiles, startPostgres } from '../support/postgres.ts';

const missing = 'missing' in postgresFiles ? `: ${postgresFiles.missing}` : '';
const URL_ENV = 'SOFTFLOW_TEST_SHOP_URL';
const START = Date.UTC(2026, 0, 1);
const hours = (count: number) => new Date(START + count * 3_600_000).toISOString();
const COLUMNS = {
  user: 'who',
  item: 'what',
  rating: null,
  time: 'happened',
  itemsItem: 'id',
  title: 'name',
};
const SOURCE: PostgresSource = {
  urlEnv: URL_ENV,
  query: 'SELECT who, what, happened FROM sales WHERE happened <= $1; ',
  itemsQuery: 'SELECT id, name FROM items -- all of them',
  columns: COLUMNS,
};

describe.skipIf(missing !== '')(`a PostgreSQL source${missing}`, () => {
  let server: PostgresServer;
  let folder: string;
  let store: Store;
  const sql = async (text: string) => {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    await client.query(text);
    await client.end();
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-postgres-source-'));
    store = await openStore(join(folder, 'store'), { create: true });
    await writeTinyModel(join(folder, 'model'), {
      hiddenSize: 16,
      layers: 1,
      heads: 2,
      kvHeads: 1,
      ffnSize: 16,
      vocabSize: 300,
    });
    server = await startPostgres();
    process.env[URL_ENV] = server.url;
    await sql(`CREATE TABLE items (id bigint PRIMARY KEY, name text);
      INSERT INTO items SELECT n, CASE n WHEN 3 THEN E'Two\\nlines, "quoted"' ELSE 'Item ' || n END FROM generate_series(0, 9) AS n;
      CREATE SEQUENCE visits;
      CREATE TABLE sales (who text, what bigint, happened timestamptz, arrived timestamptz);
      INSERT INTO sales SELECT 'u' || n % 20, (n * 7 + n / 20) % 10, timestamptz '2026-01-01T00:00:00Z' + n * interval '1 minute',
        timestamptz '2026-01-01T00:00:00Z' + n * interval '1 minute' + CASE WHEN n % 100 = 0 THEN interval '90 days' ELSE '0' END
      FROM generate_series(0, 24999) AS n`);
  });
  afterAll(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const config = (change: object = {}) =>
    RunConfigSchema.parse({
      model: { source: { folder: join(folder, 'model') } },
      data: {
        source: { postgres: SOURCE },
        asOf: hours(400),
        trainUntil: hours(390),
        kCore: 1,
        historyLength: 3,
        ...change,
      },
    });
  const places: Places = {
    modelFiles: async (source) => source as { folder: string },
    dataSource: async (source) => source as DataSource,
  };
  const inActivity = <T>(work: () => Promise<T>) => new MockActivityEnvironment().run(work) as Promise<T>;
  const resolve = (run: ReturnType<typeof config>) =>
    inActivity<Sources>(() => sourceResolver(places, store)(sourceNames(run)));
  async function prepare(run: ReturnType<typeof config>, sources: Sources) {
    const params = stepParams(run, sources).prepareData();
    const key = keyOfStep('prepareData', {}, params);
    const circumstances = {
      runId: 'r',
      checkpointEverySeconds: 60,
      allowDifferentBackend: false,
      stallTimeoutSeconds: 60,
    };
    const step = cpuStep(store, 'prepareData', prepareData(places));
    const result = await inActivity(() => step({ step: 'prepareData', key, inputs: {}, params, circumstances }));
    if (!result) throw new Error('it was not computed');
    return result;
  }
  const snapshot = async (change: Partial<PostgresSource> = {}, cutOff = {}) => {
    const tmpDir = await mkdtemp(join(folder, 'snapshot-'));
    const reading = { timeUnit: 'auto', maxBadRows: 0.01, ...cutOff } as const;
    return snapshotSource({ postgres: { ...SOURCE, ...change } }, reading, {
      tmpDir,
      memoryLimit: '500MB',
      threads: 2,
    });
  };

  it('keeps to a split that a query gives', async () => {
    const query = `SELECT who, what, happened, CASE WHEN happened < '2026-01-15' THEN 'train' WHEN happened < '2026-01-16'
      THEN 'dev' ELSE 'test' END AS part FROM sales WHERE happened <= $1`;
    const source = { postgres: { ...SOURCE, query, columns: { ...COLUMNS, split: 'part' } } };
    const run = config({ samples: { train: 50, valid: 50, test: 50 } });
    delete run.data.trainUntil;
    run.data.source = source;
    const { outputs } = await prepare(run, await resolve(run));
    const spans = await Promise.all(
      (['windowsTrain', 'windowsValid', 'windowsTest'] as const).map(async (name) =>
        decodeWindows(await store.getBytes(outputs[name] as ArtifactRef)).map(({ targetTimeMs }) =>
          Number(targetTimeMs),
        ),
      ),
    );
    const [valid, test] = [Date.UTC(2026, 0, 15), Date.UTC(2026, 0, 16)];
    expect(spans.map(({ length }) => length)).toEqual([50, 50, 50]);
    expect(spans[0]?.every((time) => time < valid)).toBe(true);
    expect(spans[1]?.every((time) => time >= valid && time < test)).toBe(true);
    expect(spans[2]?.every((time) => time >= test)).toBe(true);
  });

  it('gives the windows as of the cut-off, the same after rows were added, changed places or were read again', async () => {
    const run = config();
    const sources = await resolve(run);
    const { result, outputs } = await prepare(run, sources);
    // 24,000 of 25,000 minutes lie before hour 400, and its own minute is one more.
    expect(result).toMatchObject({ counts: { rows: 24_001, users: 20, items: 10, later: 600 } });
    const test = decodeWindows(await store.getBytes(outputs['windowsTest'] as never));
    const times = test.map(({ targetTimeMs }) => Number(targetTimeMs));
    expect(Math.min(...times)).toBeGreaterThan(Date.parse(hours(390)));
    expect(Math.max(...times)).toBeLessThanOrEqual(Date.parse(hours(400)));

    await sql(`INSERT INTO sales SELECT 'u1', 1, timestamptz '2026-02-01' + n * interval '1 hour' FROM generate_series(1, 50) AS n;
      UPDATE sales SET what = what WHERE what < 5`);
    const again = await resolve(run);
    expect(again.data).toEqual({
      ...sources.data,
      snapshot: { ...sources.data.snapshot, leftOut: again.data.snapshot?.leftOut },
    });
    expect((await prepare(run, again)).reused).toBe(true);
    const elsewhere = config({ asOf: '2026-01-17T17:00:00+01:00' });
    expect((await prepare(elsewhere, again)).reused).toBe(true);
  });

  it('leaves out what arrived later, and reads times of every kind as Unix milliseconds', async () => {
    const query = 'SELECT who, what, happened, arrived FROM sales WHERE happened <= $1';
    const known = await snapshot({ query }, { asOf: hours(400), knownAt: 'arrived' });
    expect(known.leftOut).toEqual({ afterAsOf: 0, knownLater: 241, withoutTime: 0, tornBytes: 0 });
    const digests = await Promise.all(
      [
        'SELECT who, what, happened FROM sales',
        "SELECT who, what, happened AT TIME ZONE 'UTC' AS happened FROM sales",
        'SELECT who, what, extract(epoch FROM happened)::bigint AS happened FROM sales WHERE $1::timestamptz IS NOT NULL',
        'SELECT who, what, (extract(epoch FROM happened) * 1000)::float8 AS happened FROM sales',
      ].map(async (text) => (await snapshot({ query: text }, { asOf: hours(400) })).digest),
    );
    expect(new Set(digests).size).toBe(1);
  });

  it('takes titles from beside the interactions without a query of items', async () => {
    const query = 'SELECT who, what, happened, name FROM sales JOIN items ON id = what';
    const { itemsQuery: _, ...source } = { ...SOURCE, query };
    const tmpDir = await mkdtemp(join(folder, 'snapshot-'));
    const taken = await snapshotSource(
      { postgres: source },
      { asOf: hours(10), timeUnit: 'auto', maxBadRows: 0 },
      { tmpDir, memoryLimit: '500MB', threads: 2 },
    );
    expect(taken.leftOut.afterAsOf).toBeGreaterThan(24_000);
    expect((await readdir(tmpDir)).sort()).toEqual(['interactions.csv.gz', 'items.csv.gz']);
  });

  it('refuses queries that are wrong, write, or are more than one, and says what the database said', async () => {
    const refused = (query: string) => expect(snapshot({ query }, { asOf: hours(1) })).rejects;
    await refused('SELEC who').toMatchObject({ code: 'DATABASE_QUERY', retryable: false, message: /syntax error/ });
    await refused('SELECT * FROM nowhere').toMatchObject({
      code: 'DATABASE_QUERY',
      message: /"nowhere" does not exist/,
    });
    const rows = 'SELECT who, what, happened FROM sales';
    await refused(`${rows}) AS rows; COMMIT; DROP TABLE sales; SELECT * FROM (${rows}`).toMatchObject({
      code: 'DATABASE_QUERY',
      message: /multiple commands/,
    });
    await refused(`${rows} WHERE nextval('visits') > 0`).toMatchObject({
      code: 'DATABASE_QUERY',
      message: /read-only/,
    });
    await refused('SELECT who, what FROM sales').toMatchObject({
      code: 'DATA_COLUMN_MISSING',
      message: /"happened" in the rows of data.source.postgres.query, found "who", "what"/,
    });
    await sql('SELECT count(*) FROM sales');
  });

  it('never shows the connection string, whatever goes wrong, and may be tried again', async () => {
    const secret = server.password;
    const closed = await freePort();
    for (const [url, hint] of [
      [server.url.replace(secret, `wrong-${secret}`), '28P01'],
      [server.url.replace(String(server.port), String(closed)), 'ECONNREFUSED'],
      [server.url.replace('/postgres', '/canary-database'), '3D000'],
      [`nonsense ${secret}`, ''],
    ] as const) {
      process.env[URL_ENV] = url;
      const error = await snapshot({}, { asOf: hours(1) }).catch((caught) => caught);
      expect(error).toMatchObject({ code: 'DATABASE_UNREACHABLE', retryable: true });
      const shown = [error.message, JSON.stringify(error.details), String(error.cause), error.stack].join();
      expect(shown).toContain(hint);
      expect(shown).not.toMatch(/canary|127\.0\.0\.1|shop:/);
    }
    delete process.env[URL_ENV];
    await expect(snapshot()).rejects.toMatchObject({
      code: 'DATABASE_UNREACHABLE',
      message: expect.stringContaining(`variable ${URL_ENV}, found none`),
    });
    process.env[URL_ENV] = server.url;
    const files = await readdir(join(folder, 'store'), { recursive: true, withFileTypes: true });
    for (const file of files.filter((entry) => entry.isFile()))
      expect((await readFile(join(file.parentPath, file.name))).includes('canary')).toBe(false);
  });
});
