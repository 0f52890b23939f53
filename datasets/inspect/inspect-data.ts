import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import { withDuck } from '../with-duck.ts';
import { type Check, checkInteractions, checkTitles } from './checks.ts';
import { type DetectedFile, detectFile } from './detect.ts';
import { loadInteractions, loadItems, type TimeUnit } from './load.ts';
import { type Mapping, mappingOf } from './mapping.ts';
import { partsBeside } from './parts.ts';
import type { Roles } from './roles.ts';

/** What a data file is, as far as can be told by looking: plain JSON, the shape of `softflow data inspect --json`. */
export interface Inspection {
  file: InspectedFile;
  /** Where titles are, when that is another file. */
  items?: InspectedFile;
  kind: 'interactions' | 'items' | 'interactions with titles';
  counts: Record<string, number>;
  times?: { unit: TimeUnit; first: string; last: string };
  ratings?: { min: number; max: number };
  checks: Check[];
  mapping: Mapping;
}

export interface InspectedFile extends Pick<DetectedFile, 'path' | 'format' | 'gzip' | 'encoding' | 'header'> {
  delimiter?: string;
  columns: string[];
  roles: Roles;
}

/** Files that belong together by the names that their publishers give them. */
const COMPANIONS: Record<string, string> = {
  'u.data': 'u.item',
  'ratings.dat': 'movies.dat',
  'ratings.csv': 'movies.csv',
};

/** `inspectData` with a database of its own. */
export function inspectFile(path: string, { items }: { items?: string } = {}): Promise<Inspection> {
  return withDuck((duck) => inspectData(path, duck, items));
}

/**
 * Looks at a file of interactions or of items; of interactions also at its items, named or beside it under a known name.
 * Streams: memory is bounded by DuckDB's limit whatever the file's size.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_EMPTY`, `DATA_UNREADABLE`, `DATA_COLUMN_MISSING`
 */
export async function inspectData(path: string, duck: Duck, itemsPath?: string): Promise<Inspection> {
  const file = await detectFile(path, duck);
  const { user, item, title } = file.roles;
  if (item === undefined || (user === undefined && title === undefined)) throw unknownColumns(file);
  if (user === undefined) return inspectItems(file, duck);
  const beside = itemsPath ?? companionOf(path);
  const found = await loadInteractions(duck, file);
  const items = beside === undefined ? undefined : await detectFile(beside, duck);
  if (items && (items.roles.item === undefined || items.roles.title === undefined)) throw unknownColumns(items);
  if (items) await loadItems(duck, items);
  else if (title !== undefined) await loadItems(duck, file);
  const titled = items !== undefined || title !== undefined;
  const parts = partsBeside(path);
  const checks = [
    ...(await checkInteractions(duck, file.roles, parts.test !== undefined)),
    ...(titled ? await checkTitles(duck, true) : []),
  ];
  return {
    file: describe(file),
    ...(items ? { items: describe(items) } : {}),
    kind: title === undefined ? 'interactions' : 'interactions with titles',
    ...found,
    checks,
    mapping: mappingOf(file, items, found.times?.unit, parts),
  };
}

async function inspectItems(file: DetectedFile, duck: Duck): Promise<Inspection> {
  const counts = await loadItems(duck, file);
  return {
    file: describe(file),
    kind: 'items',
    counts,
    checks: await checkTitles(duck, false),
    mapping: mappingOf(file, undefined, undefined),
  };
}

function describe({ path, format, gzip, encoding, header, delimiter, columns, roles }: DetectedFile): InspectedFile {
  return { path, format, gzip, encoding, header, ...(delimiter === undefined ? {} : { delimiter }), columns, roles };
}

function companionOf(path: string): string | undefined {
  const name = basename(path);
  const other = COMPANIONS[name] ?? (name.endsWith('.inter') ? name.replace(/(\.train)?\.inter$/, '.item') : undefined);
  const beside = other === undefined ? undefined : join(dirname(path), other);
  return beside !== undefined && existsSync(beside) ? beside : undefined;
}

function unknownColumns({ path, columns, roles }: DetectedFile): SoftflowError {
  const known = Object.entries(roles).map(([role, name]) => `${name} as ${role}`);
  return new SoftflowError(
    'DATA_COLUMN_MISSING',
    `Expected columns of users and items, or of items and titles, in ${path}, found ${columns.slice(0, 50).join(', ')} (${known.join(', ') || 'none of a known name'}). Rename them in the header: user_id, item_id, timestamp, title.`,
    { details: { path, found: columns.slice(0, 50) } },
  );
}
