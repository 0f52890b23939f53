import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import { PLANTED_VERSION, type PlantedParams, writePlanted } from '../planted.ts';
import type { TabularFile } from './tabular.ts';

/** A CSV pair; ids are text. `columns` holds the files' own names. */
export interface CsvSource {
  interactions: string;
  items: string;
  columns: {
    user: string;
    item: string;
    rating: string | null;
    time: string;
    itemsItem: string;
    title: string;
  };
  delimiter: string;
}

/** RecBole atomic files: `<folder>/<name>.inter` and `<folder>/<name>.item`, with a header of `field:type`. */
export interface RecboleSource {
  folder: string;
  name: string;
  titleField: string;
  /** Field with the year; ignored when the file has none of that name. */
  yearField: string | null;
}

/** A data source on this machine: paths are real, registry names have been resolved by the caller. */
export type ResolvedDataSource = { csv: CsvSource } | { recbole: RecboleSource } | { planted: PlantedParams };

/** Interactions (roles user, item, rating, time) and items (roles item, title, year). */
export interface SourceFiles {
  interactions: TabularFile;
  items: TabularFile;
}

/** The source's two files; planted data is written into `folder` first. */
export async function sourceFiles(source: ResolvedDataSource, folder: string): Promise<SourceFiles> {
  if ('recbole' in source) return recboleFiles(source.recbole);
  if ('csv' in source) return csvFiles(source.csv);
  return csvFiles({ ...(await writePlanted(source.planted, folder)), columns: PLANTED_COLUMNS, delimiter: ',' });
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
    const { columns, delimiter, interactions, items } = source.csv;
    hash.update(canonical(['csv', columns, delimiter, await fileDigest(interactions), await fileDigest(items)]));
  } else {
    const { interactions, items } = recboleFiles(source.recbole);
    const { titleField, yearField } = source.recbole;
    const files = [await fileDigest(interactions.path), await fileDigest(items.path)];
    hash.update(canonical(['recbole', titleField, yearField, ...files]));
  }
  return hash.digest('hex');
}

const PLANTED_COLUMNS = {
  user: 'user_id',
  item: 'item_id',
  rating: null,
  time: 'timestamp',
  itemsItem: 'item_id',
  title: 'title',
};

function csvFiles({ interactions, items, columns, delimiter }: CsvSource): SourceFiles {
  const { user, item, rating, time, itemsItem, title } = columns;
  return {
    interactions: { path: interactions, delimiter, quoted: true, columns: { user, item, rating, time } },
    items: { path: items, delimiter, quoted: true, columns: { item: itemsItem, title, year: null } },
  };
}

function recboleFiles({ folder, name, titleField, yearField }: RecboleSource): SourceFiles {
  const atomic = { delimiter: '\t', quoted: false, nameEnd: ':' };
  return {
    interactions: {
      ...atomic,
      path: join(folder, `${name}.inter`),
      columns: { user: 'user_id', item: 'item_id', rating: 'rating', time: 'timestamp' },
      optional: ['rating'],
    },
    items: {
      ...atomic,
      path: join(folder, `${name}.item`),
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

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
