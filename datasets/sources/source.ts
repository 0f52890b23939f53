import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import { PLANTED_VERSION, type PlantedParams, writePlanted } from '../planted.ts';
import { SPLITS, type Split } from './splits.ts';
import type { TabularFile } from './tabular.ts';
import { isGzip, readBytes } from './text-file.ts';

/** The source's own names of its columns. */
export interface SourceColumns {
  user: string;
  item: string;
  rating: string | null;
  time: string;
  /** Says train, valid or test, where the data is split already. */
  split?: string;
  /** Of the items. */
  itemsItem: string;
  title: string;
}

/** Where rows to validate and to test on are, when the data is split already: the others then train. */
interface TestParts {
  valid?: string;
  test?: string;
}

/** A CSV pair; ids are text. `columns` holds the files' own names. */
export interface CsvSource extends TestParts {
  interactions: string;
  items: string;
  columns: SourceColumns;
  delimiter: string;
}

/** RecBole atomic files: `<folder>/<name>.inter` and `<folder>/<name>.item`, with a header of `field:type`. */
export interface RecboleSource {
  folder: string;
  name: string;
  /** Two or three parts instead, `<name>.<part>.inter`: train, validation if there is one, test. */
  benchmark?: readonly string[];
  titleField: string;
  /** Field with the year; ignored when the file has none of that name. */
  yearField: string | null;
}

/** What a source held up to its cut-off (`snapshot.ts`). */
export interface SnapshotSource {
  /** Kind of the source that it was taken from. */
  of: string;
  /** Paths of gzip CSV files of `SNAPSHOT_COLUMNS`; times in Unix milliseconds. */
  interactions: string;
  items: string;
}

/** Parquet files under a folder, in the order of their paths. Without `items` titles stand beside the interactions. */
export interface ParquetSource extends TestParts {
  folder: string;
  items?: string;
  columns: SourceColumns;
}

/** Queries to a PostgreSQL database; `$1` in them is the cut-off. */
export interface PostgresSource {
  /** Name of the environment variable that holds the connection string. */
  urlEnv: string;
  query: string;
  itemsQuery?: string;
  columns: SourceColumns;
}

/** A data source on this machine: paths are real, registry names have been resolved by the caller. */
export type ResolvedDataSource =
  | { csv: CsvSource }
  | { recbole: RecboleSource }
  | { planted: PlantedParams }
  | { snapshot: SnapshotSource };

/** Also those that can only be read into a snapshot. */
export type DataSource = ResolvedDataSource | { parquet: ParquetSource } | { postgres: PostgresSource };

/** Interactions (roles user, item, rating, time, split), in one file or one a split, and items (roles item, title, year). */
export interface SourceFiles {
  interactions: TabularFile[];
  items: TabularFile;
}

/** `csv`, `postgres`, ...; of a snapshot that of its source. */
export function kindOf(source: DataSource): string {
  return 'snapshot' in source ? source.snapshot.of : (Object.keys(source)[0] as string);
}

/** The source's files; planted data is written into `folder` first. */
export async function sourceFiles(source: ResolvedDataSource, folder: string): Promise<SourceFiles> {
  if ('recbole' in source) return recboleFiles(source.recbole);
  if ('csv' in source) return csvFiles(source.csv);
  if ('snapshot' in source) return snapshotFiles(source.snapshot);
  return csvFiles({ ...(await writePlanted(source.planted, folder)), columns: COLUMNS, delimiter: ',' });
}

/**
 * SHA-256 over what the source says, in hexadecimal: its kind, its reading options and the bytes of its files, but no
 * path, so that a copy elsewhere has the same digest.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`
 */
export async function digestOfSource(source: ResolvedDataSource): Promise<string> {
  const hash = createHash('sha256');
  if ('planted' in source) {
    hash.update(canonical(['planted', PLANTED_VERSION, source.planted]));
  } else if ('csv' in source) {
    const { columns, delimiter, interactions, items, valid, test } = source.csv;
    const files = [await fileDigest(interactions), await fileDigest(items)];
    const parts =
      test === undefined ? [] : [valid === undefined ? null : await fileDigest(valid), await fileDigest(test)];
    hash.update(canonical(['csv', columns, delimiter, ...files, ...parts]));
  } else if ('snapshot' in source) {
    const { interactions, items } = source.snapshot;
    hash.update(canonical(['snapshot', await textDigest(interactions), await textDigest(items)]));
  } else {
    const { interactions, items } = recboleFiles(source.recbole);
    const { titleField, yearField } = source.recbole;
    const files: string[] = [];
    for (const { path } of [...interactions, items]) files.push(await fileDigest(path));
    hash.update(canonical(['recbole', titleField, yearField, ...files]));
  }
  return hash.digest('hex');
}

/** Columns of planted data and of snapshots. */
const COLUMNS = {
  user: 'user_id',
  item: 'item_id',
  rating: null,
  time: 'timestamp',
  itemsItem: 'item_id',
  title: 'title',
};

/** Each split's place where the data is split already; else the one place of all rows. */
export function placesOfSplits(all: string, { valid, test }: TestParts): { place: string; split?: Split }[] {
  if (test === undefined) return [{ place: all }];
  const places = { train: all, valid, test };
  return SPLITS.flatMap((split) => (places[split] === undefined ? [] : [{ place: places[split], split }]));
}

function csvFiles({ interactions, items, columns, delimiter, ...parts }: CsvSource): SourceFiles {
  const { user, item, rating, time, split = null, itemsItem, title } = columns;
  const roles = { user, item, rating, time, split };
  return {
    interactions: placesOfSplits(interactions, parts).map(({ place, ...of }) => ({
      ...{ path: place, delimiter, quoted: true, columns: roles },
      ...of,
    })),
    items: { path: items, delimiter, quoted: true, columns: { item: itemsItem, title, year: null } },
  };
}

function snapshotFiles({ interactions, items }: SnapshotSource): SourceFiles {
  const { user, item, time, itemsItem, title } = COLUMNS;
  const csv = { delimiter: ',', quoted: true };
  return {
    interactions: [
      {
        ...csv,
        path: interactions,
        columns: { user, item, rating: 'rating', time, split: 'split' },
        optional: ['rating', 'split'],
        milliseconds: ['time'],
      },
    ],
    items: { ...csv, path: items, columns: { item: itemsItem, title, year: 'year' }, optional: ['year'] },
  };
}

function recboleFiles({ folder, name, benchmark, titleField, yearField }: RecboleSource): SourceFiles {
  const atomic = { delimiter: '\t', quoted: false, nameEnd: ':' };
  const part = (last: string) => join(folder, `${name}.${last}`);
  const [train = '', ...others] = benchmark?.map((each) => part(`${each}.inter`)) ?? [part('inter')];
  const [test, valid] = others.toReversed();
  const parts = { ...(valid === undefined ? {} : { valid }), ...(test === undefined ? {} : { test }) };
  return {
    interactions: placesOfSplits(train, parts).map(({ place, ...of }) => ({
      ...atomic,
      path: place,
      columns: { user: 'user_id', item: 'item_id', rating: 'rating', time: 'timestamp' },
      optional: ['rating'],
      ...of,
    })),
    items: {
      ...atomic,
      path: part('item'),
      columns: { item: 'item_id', title: titleField, year: yearField },
      optional: ['year'],
    },
  };
}

async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  } catch (cause) {
    throw new SoftflowError('DATA_NOT_FOUND', `Expected a readable data file at ${path}; check \`data.source\``, {
      details: { path },
      cause,
    });
  }
  return hash.digest('hex');
}

/** Of the text and not of its packing, which another version of zlib may do otherwise. */
async function textDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readBytes(path, await isGzip(path))) hash.update(chunk);
  return hash.digest('hex');
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
