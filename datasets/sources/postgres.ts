import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Client, QueryConfig, QueryResult } from 'pg';
import { SoftflowError } from '../../errors.ts';
import { redacted } from './postgres-errors.ts';
import type { TabularFile } from './tabular.ts';

/** One query and the CSV file of role names that its rows go to. */
export interface QueryCopy {
  /** Its key under `data.source.postgres`, for errors. */
  key: string;
  query: string;
  /** The query's own column name for each role; null when there is none. */
  columns: Record<string, string | null>;
  target: string;
}

const FETCH_ROWS = 10_000;
const QUERY_TIMEOUT_MS = 60 * 60 * 1000;
/** Types of `timestamp`, `timestamptz` and `date` in PostgreSQL's catalogue. */
const TIME_TYPES = new Set([1114, 1184, 1082]);
const TIME_ROLES = new Set(['time', 'known']);

/**
 * Runs the queries in one read-only transaction that sees one moment of the database, and writes their rows into CSV
 * files, in bounded memory. Rows are sorted by all their values, because a query promises no order. `$1` is the cut-off,
 * `infinity` when there is none.
 *
 * @throws SoftflowError `DATABASE_UNREACHABLE` (retryable) or `DATABASE_QUERY`; neither holds the connection string
 */
export async function copyPostgres(
  urlEnv: string,
  copies: readonly QueryCopy[],
  asOf: string | undefined,
): Promise<TabularFile[]> {
  const client = await connect(urlEnv);
  try {
    return await redacted(urlEnv, async () => {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TIME ZONE 'UTC'");
      const files: TabularFile[] = [];
      for (const copy of copies) files.push(await copyQuery(client, copy, asOf ?? 'infinity'));
      return files;
    });
  } finally {
    // The rows are there already; a connection that breaks while it is closed costs nothing.
    await client.end().catch(() => {});
  }
}

async function connect(urlEnv: string): Promise<Client> {
  const connectionString = process.env[urlEnv];
  if (!connectionString)
    throw new SoftflowError(
      'DATABASE_UNREACHABLE',
      `Expected the connection string of the database in the environment variable ${urlEnv}, found none. Set it where the worker runs.`,
      { details: { variable: urlEnv } },
    );
  const { default: pg } = await importDriver();
  return redacted(urlEnv, async () => {
    const client = new pg.Client({
      connectionString,
      connectionTimeoutMillis: 30_000,
      // A server that has gone without a word would hold the run for ever.
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
      // Every value comes as the text that the server writes.
      types: { getTypeParser: () => (text: unknown) => text },
    });
    // A connection that breaks also rejects the query at work; without a listener it would end the process.
    client.on('error', () => {});
    await client.connect();
    return client;
  });
}

async function importDriver(): Promise<typeof import('pg')> {
  try {
    return await import('pg');
  } catch (cause) {
    throw new SoftflowError(
      'DATABASE_DRIVER_MISSING',
      'Expected the package pg for `data.source.postgres`, found none. Install it beside softflow: npm install pg',
      { cause },
    );
  }
}

async function copyQuery(client: Client, copy: QueryCopy, asOf: string): Promise<TabularFile> {
  const query = `(${copy.query.trim().replace(/;+$/, '')}\n) AS rows`;
  const values = /\$1(?!\d)/.test(copy.query) ? [asOf] : [];
  const probe = await client.query(oneStatement(`SELECT * FROM ${query} LIMIT 0`, values));
  const named = namedColumns(copy, probe);
  const isTime = (role: string, type: number) => TIME_ROLES.has(role) && TIME_TYPES.has(type);
  const selected = named.map(({ role, name, type }) =>
    isTime(role, type)
      ? `(extract(epoch FROM ${client.escapeIdentifier(name)}) * 1000)::text AS "${role}"`
      : `${client.escapeIdentifier(name)}::text AS "${role}"`,
  );
  const order = named.map(({ role }) => `"${role}" COLLATE "C"`).join(', ');
  const rows = `SELECT * FROM (SELECT ${selected.join(', ')} FROM ${query}) AS sorted ORDER BY ${order}`;
  await client.query(oneStatement(`DECLARE softflow_rows NO SCROLL CURSOR FOR ${rows}`, values));
  const roles = named.map(({ role }) => role);
  await pipeline(Readable.from(csvLines(client, roles)), createWriteStream(copy.target, { mode: 0o600 }));
  await client.query('CLOSE softflow_rows');
  return {
    path: copy.target,
    delimiter: ',',
    quoted: true,
    columns: Object.fromEntries(
      Object.entries(copy.columns).map(([role, name]) => [role, name === null ? null : role]),
    ),
    milliseconds: named.filter(({ role, type }) => isTime(role, type)).map(({ role }) => role),
  };
}

/** In the extended protocol, also without values: there a text of several statements is refused. */
function oneStatement(text: string, values: string[]): QueryConfig {
  const config: QueryConfig & { queryMode: 'extended' } = { text, values, queryMode: 'extended' };
  return config;
}

function namedColumns({ key, columns }: QueryCopy, { fields }: QueryResult) {
  const types = new Map(fields.map(({ name, dataTypeID }) => [name, dataTypeID]));
  const named = Object.entries(columns).flatMap(([role, name]) => (name === null ? [] : [{ role, name }]));
  const missing = named.filter(({ name }) => !types.has(name)).map(({ name }) => `"${name}"`);
  if (missing.length > 0) {
    const found = [...types.keys()];
    throw new SoftflowError(
      'DATA_COLUMN_MISSING',
      `Expected column ${missing.join(', ')} in the rows of data.source.postgres.${key}, found ${found
        .map((name) => `"${name}"`)
        .join(', ')}; name the columns under \`data.source.postgres.columns\``,
      { details: { query: key, missing, found } },
    );
  }
  return named.map((column) => ({ ...column, type: types.get(column.name) as number }));
}

async function* csvLines(client: Client, roles: readonly string[]): AsyncGenerator<string> {
  yield `${roles.join(',')}\n`;
  for (;;) {
    const { rows } = await client.query<(string | null)[]>({
      text: `FETCH ${FETCH_ROWS} FROM softflow_rows`,
      rowMode: 'array',
    });
    if (rows.length === 0) return;
    yield rows.map((row) => `${row.map(csvValue).join(',')}\n`).join('');
  }
}

function csvValue(value: string | null): string {
  return value === null ? '' : `"${value.replaceAll('"', '""')}"`;
}
