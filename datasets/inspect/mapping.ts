import { basename, dirname } from 'node:path';
import type { DetectedFile } from './detect.ts';
import type { TimeUnit } from './load.ts';
import type { Parts } from './parts.ts';

/** How a recipe names the data, to be pasted; or why it has to be converted first. */
export interface Mapping {
  /** The recipe's `data` section; absent where no recipe reads the file as it is. */
  data?: { source: Record<string, unknown> };
  /** What to know or to do before pasting. */
  notes: string[];
}

const DEFAULTS = { user: 'user_id', item: 'item_id', time: 'timestamp', itemsItem: 'item_id', title: 'title' };
const ITEMS_PLACEHOLDER = 'items.csv';

/**
 * @param items the file of titles; the interactions themselves may carry them
 * @param parts files beside `file`, which is then the train part
 */
export function mappingOf(
  file: DetectedFile,
  items: DetectedFile | undefined,
  unit: TimeUnit | undefined,
  parts: Parts = {},
): Mapping {
  const conversions = [file, ...(items ? [items] : [])].flatMap((each) =>
    toConvert(each, each === file ? unit : undefined),
  );
  if (file.roles.user === undefined)
    return {
      notes: ['Inspect the file of interactions, with this one as --items, for a whole mapping.', ...conversions],
    };
  if (file.roles.time === undefined)
    return { notes: ['No column of times was found: without times there is no order to learn from.', ...conversions] };
  if (conversions.length > 0) return { notes: conversions };
  const { data, notes } = sourceMapping(file, items, parts);
  return { ...(data ? { data } : {}), notes: [...notes, ...splitNotes(file, parts)] };
}

function sourceMapping(file: DetectedFile, items: DetectedFile | undefined, parts: Parts): Mapping {
  if (file.format === 'parquet') return parquetMapping(file, items, parts);
  if (file.format === 'recbole' && items?.format === 'recbole') return recboleMapping(file, items, parts);
  return csvMapping(file, items, parts);
}

function splitNotes({ roles }: DetectedFile, { test, valid }: Parts): string[] {
  const where = test === undefined ? roles.split && `column ${roles.split}` : [valid, test].filter(Boolean).join(', ');
  if (!where) return [];
  return [
    `The data is split already (${where}): a run keeps to that instead of splitting by time. Set data.kCore to 1 if every row of it shall count.`,
  ];
}

/** Why a recipe cannot read the file, and the command that helps. */
function toConvert(file: DetectedFile, unit: TimeUnit | undefined): string[] {
  const reasons = [
    ...(file.header ? [] : ['it has no header']),
    ...(file.format === 'jsonl' ? ['it is JSON lines'] : []),
    ...(file.format === 'arrow' ? ['it is an Arrow file'] : []),
    ...(file.encoding === 'latin-1' ? ['it is not UTF-8'] : []),
    ...(unit === 'date' ? ['its times are dates'] : []),
  ];
  if (reasons.length === 0) return [];
  const output = file.roles.user === undefined ? ITEMS_PLACEHOLDER : 'interactions.csv';
  return [
    `A recipe does not read ${file.path} as it is: ${reasons.join(', ')}. Next: softflow data convert ${file.path} -o ${output}`,
  ];
}

function csvMapping(file: DetectedFile, items: DetectedFile | undefined, parts: Parts): Mapping {
  const titles = items ?? (file.roles.title === undefined ? undefined : file);
  const notes = [
    ...(titles
      ? []
      : [`No titles were found: replace ${ITEMS_PLACEHOLDER} by a file with one row an item, its id and title.`]),
    ...(items && items.delimiter !== file.delimiter
      ? [
          `Both files need the same separator: ${items.path} has ${JSON.stringify(items.delimiter)}. Next: softflow data convert ${items.path} -o items.csv`,
        ]
      : []),
  ];
  const delimiter = file.delimiter === ',' ? {} : { delimiter: file.delimiter };
  const csv = {
    interactions: file.path,
    ...parts,
    items: titles?.path ?? ITEMS_PLACEHOLDER,
    ...columns(file, titles, parts),
    ...delimiter,
  };
  return { data: { source: { csv } }, notes };
}

function recboleMapping(file: DetectedFile, items: DetectedFile, { valid, test }: Parts): Mapping {
  const name = basename(items.path).replace(/\.item$/, '');
  const partOf = (path: string) => basename(path).slice(name.length + 1, -'.inter'.length);
  const files = [file.path, ...(valid === undefined ? [] : [valid]), ...(test === undefined ? [] : [test])];
  const recbole = {
    folder: dirname(file.path),
    name,
    ...(test === undefined ? {} : { benchmark: files.map(partOf) }),
    titleField: items.roles.title,
    yearField: items.roles.year ?? null,
  };
  return { data: { source: { recbole } }, notes: [] };
}

function parquetMapping(file: DetectedFile, items: DetectedFile | undefined, parts: Parts): Mapping {
  const folder = parts.test === undefined ? dirname(file.path) : file.path;
  const parquet = {
    ...{ folder, ...parts },
    ...(items ? { items: items.path } : {}),
    ...columns(file, items ?? file, parts),
  };
  const notes =
    parts.test === undefined
      ? [`A recipe reads every *.parquet under ${folder}: keep other files, items too, elsewhere.`]
      : [];
  if (!items && file.roles.title === undefined)
    notes.push('No titles were found: name a Parquet file of items as `items`.');
  return { data: { source: { parquet } }, notes };
}

/** The columns whose names are not the defaults. */
function columns(
  file: DetectedFile,
  titles: DetectedFile | undefined,
  parts: Parts,
): { columns?: Record<string, string> } {
  const { user, item, rating, time } = file.roles;
  const split = parts.test === undefined ? file.roles.split : undefined;
  const names = { user, item, time, split, rating, itemsItem: titles?.roles.item, title: titles?.roles.title };
  const own = Object.entries(names).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && DEFAULTS[entry[0] as keyof typeof DEFAULTS] !== entry[1],
  );
  return own.length === 0 ? {} : { columns: Object.fromEntries(own) };
}
