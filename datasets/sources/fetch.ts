import { join } from 'node:path';
import type { Duck } from '../duck.ts';
import { copyParquet } from './parquet.ts';
import { copyPostgres } from './postgres.ts';
import { type DataSource, placesOfSplits, type SourceColumns, sourceFiles } from './source.ts';
import type { TabularFile } from './tabular.ts';
import { copyWholeLines } from './whole-lines.ts';

/** Names of the columns of arrival times, and of the cut-off that a query gets. */
export interface FetchOptions {
  knownAt?: string;
  asOf?: string;
}

/** A source as text files of this machine that nobody appends to. */
export interface FetchedSource {
  /** Roles user, item, rating, time, known, split; also title when there are no items. */
  interactions: TabularFile[];
  items?: TabularFile;
  /** Behind the last whole lines. */
  tornBytes: number;
}

/** Where the copies lie and what people know the originals as: errors name the latter. */
export interface Copies {
  interactions: Copy[];
  items: Copy;
}
export interface Copy {
  path: string;
  place: string;
}

export async function copiesOf(source: DataSource, folder: string): Promise<Copies> {
  const copy = (name: string, place: string) => ({ path: join(folder, `${name}.copy.csv`), place });
  const all = (interactions: readonly string[], items: string): Copies => ({
    interactions: interactions.map((place, i) => copy(`interactions-${i}`, place)),
    items: copy('items', items),
  });
  if ('postgres' in source) return all(['data.source.postgres.query'], 'data.source.postgres.itemsQuery');
  if ('parquet' in source) {
    const { folder: rows, items = rows } = source.parquet;
    return all(
      placesOfSplits(rows, source.parquet).map(({ place }) => place),
      items,
    );
  }
  const { interactions, items } = await sourceFiles(source, folder);
  return all(
    interactions.map(({ path }) => path),
    items.path,
  );
}

/** Reads a source once, as it is now. @throws SoftflowError those of its kind */
export async function fetchSource(
  duck: Duck,
  source: DataSource,
  copies: Copies,
  options: FetchOptions,
  folder: string,
): Promise<FetchedSource> {
  if ('parquet' in source) return fetchParquet(duck, source.parquet, copies, options);
  if ('postgres' in source) return fetchPostgres(source.postgres, copies, options);
  const files = await sourceFiles(source, folder);
  const known = { known: options.knownAt ?? null };
  let tornBytes = 0;
  for (const { path, place } of [...copies.interactions, copies.items]) tornBytes += await copyWholeLines(place, path);
  return {
    interactions: files.interactions.map((file, i) => ({
      ...file,
      path: (copies.interactions[i] as Copy).path,
      columns: { ...file.columns, ...known },
    })),
    items: { ...files.items, path: copies.items.path },
    tornBytes,
  };
}

async function fetchParquet(
  duck: Duck,
  { folder, items, columns, ...parts }: Extract<DataSource, { parquet: unknown }>['parquet'],
  copies: Copies,
  options: FetchOptions,
): Promise<FetchedSource> {
  const roles = interactionRoles(columns, options, items === undefined);
  const interactions: TabularFile[] = [];
  for (const [i, { place, ...of }] of placesOfSplits(folder, parts).entries()) {
    const { path } = copies.interactions[i] as Copy;
    interactions.push({ ...(await copyParquet(duck, place, roles, path)), ...of });
  }
  if (items === undefined) return { interactions, tornBytes: 0 };
  return { interactions, items: await copyParquet(duck, items, itemRoles(columns), copies.items.path), tornBytes: 0 };
}

async function fetchPostgres(
  source: Extract<DataSource, { postgres: unknown }>['postgres'],
  copies: Copies,
  options: FetchOptions,
): Promise<FetchedSource> {
  const { query, itemsQuery, columns } = source;
  const tables = [
    {
      key: 'query',
      query,
      columns: interactionRoles(columns, options, itemsQuery === undefined),
      target: (copies.interactions[0] as Copy).path,
    },
    ...(itemsQuery === undefined
      ? []
      : [{ key: 'itemsQuery', query: itemsQuery, columns: itemRoles(columns), target: copies.items.path }]),
  ];
  const [interactions, items] = await copyPostgres(source.urlEnv, tables, options.asOf);
  return { interactions: [interactions as TabularFile], ...(items ? { items } : {}), tornBytes: 0 };
}

function interactionRoles(columns: SourceColumns, { knownAt }: FetchOptions, withTitle: boolean) {
  const { user, item, rating, time, split, title } = columns;
  return {
    ...{ user, item, rating, time, known: knownAt ?? null },
    ...(split === undefined ? {} : { split }),
    ...(withTitle ? { title } : {}),
  };
}

function itemRoles({ itemsItem, title }: SourceColumns) {
  return { item: itemsItem, title, year: null };
}
