import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { SoftflowError } from '../errors.ts';
import { Duck, type DuckOptions } from './duck.ts';
import { namesOf } from './prepare/bad-rows.ts';
import { MAX_TIME_MS, type ReadInteractions, readInteractions } from './prepare/interactions.ts';
import { readItems } from './prepare/read-titles.ts';
import { type Copies, type Copy, copiesOf, fetchSource } from './sources/fetch.ts';
import { type DataSource, digestOfSource, kindOf, type SnapshotSource } from './sources/source.ts';
import { splitNameSql } from './sources/splits.ts';
import { type OpenedFile, openTabular, sqlText } from './sources/tabular.ts';

/** A source that is read while others write: asking again may help. */
const PASSING = new Set(['DATA_NOT_FOUND', 'DATA_UNREADABLE']);

/** What part of a growing source counts, and how its rows are read; keys of `data` in the run config. */
export interface CutOff {
  /** RFC 3339; without it everything that is there. */
  asOf?: string;
  /** The source's column with the time at which a row arrived; it counts only together with `asOf`. */
  knownAt?: string;
  timeUnit: 'auto' | 's' | 'ms';
  /** Share of unreadable rows above which reading fails. */
  maxBadRows: number;
}

/** Whether a source can be prepared only by way of a snapshot: it has a cut-off, or gives no file that could be read twice. */
export function needsSnapshot(source: DataSource, { asOf }: Pick<CutOff, 'asOf'>): boolean {
  return asOf !== undefined || 'parquet' in source || 'postgres' in source;
}

/** Rows that the source had and the snapshot does not. */
export interface LeftOut {
  /** Their event is later than `asOf`. */
  afterAsOf: number;
  /** They arrived later than `asOf`. */
  knownLater: number;
  /** They cannot be read or have no usable time, so that nobody can say whether they belong to it. */
  withoutTime: number;
  /** Bytes of last lines that had no end yet: a writer may be at work. */
  tornBytes: number;
}

export interface Snapshot {
  /** Two gzip files in `tmpDir`; the caller moves or removes them. */
  snapshot: SnapshotSource;
  /** As `digestOfSource` says: of the rows, so that the same rows have it whenever they are read. */
  digest: string;
  leftOut: LeftOut;
}

/**
 * Copies what a source holds up to the cut-off: the rows whose event, and whose arrival where that is known, lies at or
 * before `asOf`, in the source's order, and the items that they name. Rows that come later cannot change it.
 *
 * @throws SoftflowError `DATA_NOT_FOUND` or `DATA_UNREADABLE` (both retryable), `DATA_EMPTY`, `DATA_COLUMN_MISSING`,
 *   `DATA_BAD_ROWS`, `DATA_NO_TITLES`, `DATABASE_UNREACHABLE` (retryable), `DATABASE_QUERY`, `CANCELLED`
 */
export async function snapshotSource(
  source: DataSource,
  cutOff: CutOff,
  options: DuckOptions & { signal?: AbortSignal },
): Promise<Snapshot> {
  const copies = await inPlace([], () => copiesOf(source, options.tmpDir));
  const duck = await Duck.open(options);
  const interrupt = () => duck.interrupt();
  options.signal?.addEventListener('abort', interrupt);
  try {
    const { leftOut, ...files } = await inPlace(copiesIn(copies), () =>
      cutSource(duck, source, cutOff, copies, options.tmpDir),
    );
    const snapshot = { of: kindOf(source), ...files };
    return { snapshot, digest: await digestOfSource({ snapshot }), leftOut };
  } finally {
    options.signal?.removeEventListener('abort', interrupt);
    await duck.close();
    for (const { path } of copiesIn(copies)) await rm(path, { force: true });
  }
}

const copiesIn = ({ interactions, items }: Copies): Copy[] => [...interactions, items];

async function cutSource(duck: Duck, source: DataSource, cutOff: CutOff, copies: Copies, folder: string) {
  const { asOf, knownAt, ...reading } = cutOff;
  const limits = asOf === undefined ? {} : { asOf, ...(knownAt === undefined ? {} : { knownAt }) };
  const fetched = await fetchSource(duck, source, copies, limits, folder);
  const interactions: OpenedFile[] = [];
  for (const file of fetched.interactions) interactions.push(await openTabular(file));
  const read = await readInteractions(duck, interactions, reading);
  const leftOut = { ...(await select(duck, interactions, read, asOf)), tornBytes: fetched.tornBytes };
  const hasRating = interactions.every(({ places }) => places['rating'] !== null);
  const rows = `SELECT user_id, item_id, ${hasRating ? 'rating, ' : ''}${read.splitGiven ? `${splitNameSql('split')} AS split, ` : ''}time_ms AS "timestamp" FROM selected ORDER BY source_row`;
  const items = fetched.items
    ? await selectItems(duck, await openTabular(fetched.items), reading.maxBadRows)
    : `SELECT item_id, arg_min(title, source_row) FILTER (title IS NOT NULL) AS title, NULL AS "year"
        FROM selected WHERE item_id IS NOT NULL GROUP BY item_id ORDER BY item_id`;
  return {
    interactions: await writeCsv(duck, rows, join(folder, 'interactions.csv.gz')),
    items: await writeCsv(duck, items, join(folder, 'items.csv.gz')),
    leftOut,
  };
}

/** Table `selected`: the rows at or before the cut-off, those without ids or rating among them. */
async function select(
  duck: Duck,
  files: readonly OpenedFile[],
  { factor, knownFactor, counts, splitGiven }: ReadInteractions,
  asOf: string | undefined,
): Promise<Omit<LeftOut, 'tornBytes'>> {
  const has = (role: string) => typeof files[0]?.places[role] === 'number';
  const until = asOf === undefined ? "'infinity'::DOUBLE" : String(Date.parse(asOf));
  await duck.run(`CREATE TABLE timed AS SELECT source_row, user_id, item_id, rating ${has('title') ? ', title' : ''} ${splitGiven ? ', split' : ''},
      round(time * ${factor})::BIGINT AS time_ms, round(time * ${factor}) > ${until} AS later,
      ${has('known') ? `round(known * ${knownFactor}) > ${until}` : 'false'} AS known_later
    FROM raw WHERE time IS NOT NULL AND isfinite(time) AND abs(time * ${factor}) <= ${MAX_TIME_MS} ${has('known') ? 'AND known IS NOT NULL AND isfinite(known)' : ''}`);
  const { timed, ...left } = await duck.numbers<'timed' | 'afterAsOf' | 'knownLater'>(`SELECT count(*) AS timed,
    count_if(later) AS "afterAsOf", count_if(NOT later AND known_later) AS "knownLater" FROM timed`);
  await duck.run('CREATE TABLE selected AS SELECT * FROM timed WHERE NOT later AND NOT known_later');
  if (timed === left.afterAsOf + left.knownLater)
    throw new SoftflowError(
      'DATA_EMPTY',
      `Expected interactions at or before \`data.asOf\` (${asOf}) in ${namesOf(files)}, found none: ${left.afterAsOf} are later and ` +
        `${left.knownLater} arrived later. Check asOf and \`data.timeUnit\``,
      { details: { path: namesOf(files), asOf, ...left } },
    );
  return { ...left, withoutTime: counts.rows - timed };
}

/** The items' rows that the interactions name: others, and those that are added later, change nothing. */
async function selectItems(duck: Duck, file: OpenedFile, maxBadRows: number): Promise<string> {
  await readItems(duck, file, maxBadRows);
  const rows = 'FROM raw_items WHERE item_id IN (SELECT item_id FROM selected)';
  const { found } = await duck.numbers<'found'>(`SELECT count(*) AS found ${rows}`);
  if (found === 0)
    throw new SoftflowError(
      'DATA_NO_TITLES',
      `Expected rows in ${file.path} for the items of the interactions, found none. Ids are text ("007" is not "7"): make both agree`,
      { details: { path: file.path } },
    );
  return `SELECT item_id, title, "year" ${rows} ORDER BY source_row`;
}

async function writeCsv(duck: Duck, rows: string, target: string): Promise<string> {
  const plain = `${target}.plain`;
  try {
    await duck.run(`COPY (${rows}) TO ${sqlText(plain)} (FORMAT csv, HEADER true)`);
    await pipeline(createReadStream(plain), createGzip(), createWriteStream(target, { mode: 0o600 }));
  } finally {
    await rm(plain, { force: true });
  }
  return target;
}

/** Errors name the source and not its copy. A file may come back and a writer finish its row: such errors may be tried again. */
async function inPlace<T>(copies: readonly Copy[], work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SoftflowError)) throw error;
    const named = (text: string) => copies.reduce((all, { path, place }) => all.replaceAll(path, place), text);
    throw new SoftflowError(error.code, named(error.message), {
      retryable: error.retryable || PASSING.has(error.code),
      details: Object.fromEntries(
        Object.entries(error.details).map(([key, value]) => [key, typeof value === 'string' ? named(value) : value]),
      ),
      cause: error.cause,
    });
  }
}
