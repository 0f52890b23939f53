import { SoftflowError } from '../errors.ts';
import type { Duck } from './duck.ts';
import { detectFile } from './inspect/detect.ts';
import { countRejects } from './inspect/load.ts';
import { guessRoles, type Roles } from './inspect/roles.ts';
import type { ItemRow, WindowRow } from './schemas.ts';
import { openArrowFile } from './sources/arrow-file.ts';

/** What a file of histories held and what could not be used. */
export interface HistoryReport {
  rows: number;
  /** Rows that cannot be read, or lack user, item or, where there is a time column, a time. */
  badRows: number;
  /** Rows of items that the model's catalogue does not have, and how many different ones (100,000 are counted). */
  unknownRows: number;
  unknownItems: number;
  unknownExamples: string[];
  users: number;
  /** Users none of whose items is known: nothing can be recommended to them. */
  usersWithoutHistory: number;
  usersWithoutHistoryExamples: string[];
  /** Users of whose history only the last items count, as in training. */
  usersCut: number;
}

export interface Histories {
  /** User of each window. */
  users: string[];
  /**
   * Histories as windows without a target, oldest item first. Their ids are row numbers, so that no user id goes where
   * windows go.
   */
  windows: WindowRow[];
  report: HistoryReport;
}

/** The last items of every user of a table of interactions, which is in the order of time. */
export function historiesOf(
  { userId, item }: { userId: ArrayLike<string>; item: ArrayLike<number> },
  historyLength: number,
): Pick<Histories, 'users' | 'windows'> {
  const people = new Map<string, LastItems>();
  for (let row = 0; row < item.length; row++) {
    const user = userId[row] as string;
    const person = people.get(user) ?? new LastItems(historyLength);
    people.set(user, person);
    person.add(item[row] as number, row);
  }
  return { users: [...people.keys()], windows: [...people.values()].map(toWindow) };
}

export interface HistoryOptions {
  /** The model's catalogue. */
  items: readonly Pick<ItemRow, 'itemId'>[];
  /** How many of the last items count. */
  historyLength: number;
  /** Names of the columns; those left out are guessed. */
  columns?: Pick<Roles, 'user' | 'item' | 'time'>;
  duck: Duck;
}

/** One interaction as text. */
type Row = readonly [user: string | null, item: string | null, time: string | null];

interface Source {
  hasTime: boolean;
  rows: AsyncIterable<Row>;
  /** Lines that could not be read, once the rows were. */
  unreadable(): Promise<number>;
}

const EXAMPLES = 5;
const COUNTED_ITEMS = 100_000;

/**
 * Reads the histories of people to recommend to: one row an interaction (CSV, Parquet, JSON lines, Arrow by the name's end
 * `.arrow`), in the order of time, or of the file where it has no times. Users keep the order in which they come.
 *
 * @throws SoftflowError `DATA_NOT_FOUND`, `DATA_UNREADABLE`, `DATA_COLUMN_MISSING`, `DATA_EMPTY`
 */
export async function readHistories(path: string, options: HistoryOptions): Promise<Histories> {
  const source = await (/\.(arrow|feather|ipc)$/i.test(path) ? openArrow(path, options) : openFile(path, options));
  const known = new Map(options.items.map(({ itemId }, item) => [itemId, item]));
  const people = new Map<string, LastItems>();
  const unknown = new Set<string>();
  const report: HistoryReport = {
    ...{ rows: 0, badRows: 0, unknownRows: 0, unknownItems: 0, unknownExamples: [], users: 0 },
    ...{ usersWithoutHistory: 0, usersWithoutHistoryExamples: [], usersCut: 0 },
  };
  for await (const [user, itemId, timeText] of source.rows) {
    const time = source.hasTime ? toTime(timeText) : report.rows;
    report.rows++;
    if (!user || !itemId || time === undefined) {
      report.badRows++;
      continue;
    }
    const person = people.get(user) ?? new LastItems(options.historyLength);
    people.set(user, person);
    const item = known.get(itemId);
    if (item !== undefined) person.add(item, time);
    else {
      report.unknownRows++;
      if (unknown.size < COUNTED_ITEMS) unknown.add(itemId);
    }
  }
  const unreadable = await source.unreadable();
  report.rows += unreadable;
  report.badRows += unreadable;
  if (report.rows === 0)
    throw new SoftflowError('DATA_EMPTY', `Expected rows of histories in ${path}, found none`, { details: { path } });
  return finish(people, unknown, report);
}

function finish(
  people: ReadonlyMap<string, LastItems>,
  unknown: ReadonlySet<string>,
  report: HistoryReport,
): Histories {
  const usable = [...people].filter(([, { items }]) => items.length > 0);
  const without = [...people].filter(([, { items }]) => items.length === 0).map(([user]) => user);
  return {
    users: usable.map(([user]) => user),
    windows: usable.map(([, person], row) => toWindow(person, row)),
    report: {
      ...report,
      unknownItems: unknown.size,
      unknownExamples: [...unknown].slice(0, EXAMPLES),
      users: people.size,
      usersWithoutHistory: without.length,
      usersWithoutHistoryExamples: without.slice(0, EXAMPLES),
      usersCut: usable.filter(([, person]) => person.cut).length,
    },
  };
}

function toWindow({ items }: LastItems, row: number): WindowRow {
  return { windowId: String(row), userId: '', targetIndex: 0, history: items, target: 0, targetTimeMs: 0n };
}

/** The last items of one person by time; of equal times the later row is the later one. Memory is bounded by `length`. */
class LastItems {
  readonly #length: number;
  readonly #entries: { item: number; time: number }[] = [];
  cut = false;

  constructor(length: number) {
    this.#length = length;
  }

  get items(): number[] {
    return this.#entries.map(({ item }) => item);
  }

  add(item: number, time: number): void {
    let at = this.#entries.length;
    while (at > 0 && (this.#entries[at - 1]?.time ?? 0) > time) at--;
    this.#entries.splice(at, 0, { item, time });
    if (this.#entries.length <= this.#length) return;
    this.#entries.shift();
    this.cut = true;
  }
}

/** A number of any unit, or a date. */
function toTime(text: string | null): number | undefined {
  if (text === null || text.trim() === '') return undefined;
  const time = Number.isFinite(Number(text)) ? Number(text) : Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}

async function openFile(path: string, { duck, columns }: HistoryOptions): Promise<Source> {
  const file = await detectFile(path, duck);
  const roles = requireRoles(path, file.columns, { ...file.roles, ...columns });
  const time = roles.time === undefined ? 'NULL::VARCHAR' : file.text(roles.time);
  const sql = `SELECT ${file.text(roles.user)}, ${file.text(roles.item)}, ${time} FROM ${file.from}`;
  async function* rows(): AsyncGenerator<Row> {
    for await (const chunk of duck.chunks(sql)) for (const row of chunk.getRows()) yield row as unknown as Row;
  }
  return { hasTime: roles.time !== undefined, rows: rows(), unreadable: () => countRejects(duck, file) };
}

function requireRoles(path: string, found: readonly string[], roles: Roles): Roles & { user: string; item: string } {
  const { user, item, time } = roles;
  const named = [user, item, time].filter((name) => name !== undefined);
  const missing = named.filter((name) => !found.includes(name));
  if (user !== undefined && item !== undefined && missing.length === 0) return { ...roles, user, item };
  const what = missing.length > 0 ? `columns ${missing.join(', ')}` : 'a column of users and one of items';
  throw new SoftflowError(
    'DATA_COLUMN_MISSING',
    `Expected ${what} in ${path}, found ${found.slice(0, 50).join(', ')}; name them: --columns user=<name>,item=<name>,time=<name>`,
    { details: { path, missing, found: found.slice(0, 50) } },
  );
}

async function openArrow(path: string, { columns }: HistoryOptions): Promise<Source> {
  const { names, rows } = await openArrowFile(path);
  const roles = requireRoles(path, names, { ...guessRoles(names), ...columns });
  async function* texts(): AsyncGenerator<Row> {
    for (const [user = null, item = null, time = null] of rows([roles.user, roles.item, roles.time]))
      yield [user, item, time];
  }
  return { hasTime: roles.time !== undefined, rows: texts(), unreadable: async () => 0 };
}
