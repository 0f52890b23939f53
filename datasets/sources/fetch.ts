import { join } from 'node:path';
import type { Duck } from '../duck.ts';
import { copyParquet } from './parquet.ts';
import { copyPostgres } from './postgres.ts';
import { type DataSource, type SourceColumns, sourceFiles } from './source.ts';
import type { TabularFile } from './tabular.ts';
import { copyWholeLines } from './whole-lines.ts';

/** Names of the columns of arrival times, and of the cut-off that a query gets. */
export interface FetchOptions {
  knownAt?: string;
  asOf?: string;
}

/** A source as two text files of this machine that nobody appends to. */
export interface FetchedSource {
  /** Roles user, item, rating, time, known; also title when there are no items. */
  interactions: TabularFile;
  items?: TabularFile;
  /** Behind the last whole lines. */
  tornBytes: number;
}

/** Where the copies lie and what people know the originals as: errors name the latter. */
export interface Copies {
  interactions: { path: string; place: string };
  items: { path: string; place: string };
}

export async function copiesOf(source: DataSource, folder: string): Promise<Copies> {
  const copy = (name: string, place: string) => ({ path: join(folder, `${name}.copy.csv`), place });
  const pair = (interactions: string, items: string): Copies => ({
    interactions: copy('interactions', interactions),
    items: copy('items', items),
  });
  if ('parquet' in source) return pair(source.parquet.folder, source.parquet.items ?? source.parquet.folder);
  if ('postgres' in source) return pair('data.source.postgres.query', 'data.source.postgres.itemsQuery');
  const { interactions, items } = await sourceFiles(source, folder);
  return pair(interactions.path, items.path);
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
  const torn = [
    await copyWholeLines(files.interactions.path, copies.interactions.path),
    await copyWholeLines(files.items.path, copies.items.path),
  ];
  return {
    interactions: {
      ...files.interactions,
      path: copies.interactions.path,
      columns: { ...files.interactions.columns, ...known },
    },
    items: { ...files.items, path: copies.items.path },
    tornBytes: (torn[0] ?? 0) + (torn[1] ?? 0),
  };
}

async function fetchParquet(
  duck: Duck,
  { folder, items, columns }: Extract<DataSource, { parquet: unknown }>['parquet'],
  copies: Copies,
  options: FetchOptions,
): Promise<FetchedSource> {
  const roles = interactionRoles(columns, options, items === undefined);
  const interactions = await copyParquet(duck, folder, roles, copies.interactions.path);
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
      target: copies.interactions.path,
    },
    ...(itemsQuery === undefined
      ? []
      : [{ key: 'itemsQuery', query: itemsQuery, columns: itemRoles(columns), target: copies.items.path }]),
  ];
  const [interactions, items] = await copyPostgres(source.urlEnv, tables, options.asOf);
  return { interactions: interactions as TabularFile, ...(items ? { items } : {}), tornBytes: 0 };
}

function interactionRoles(columns: SourceColumns, { knownAt }: FetchOptions, withTitle: boolean) {
  const { user, item, rating, time, title } = columns;
  return { user, item, rating, time, known: knownAt ?? null, ...(withTitle ? { title } : {}) };
}

function itemRoles({ itemsItem, title }: SourceColumns) {
  return { item: itemsItem, title, year: null };
}
