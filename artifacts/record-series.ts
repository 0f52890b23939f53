import { canonicalJson, sha256Hex } from './canonical-json.ts';
import type { StoreFolder } from './store-folder.ts';

const FILE_NAME = /^(?:([0-9][0-9.]{0,127})-)?([1-9][0-9]{0,14})$/;

/** Takes a record's value for whole by returning something. */
export type Accept<T> = (value: unknown) => T | undefined | Promise<T | undefined>;

/** A record's place in its series: numbers from 1, each within a slot ('' for the series as a whole). */
export interface RecordPlace {
  slot: string;
  n: number;
}

/**
 * A record's bytes: the value with its place in the store and a digest over both, in canonical JSON. So a record that
 * was changed, cut short or copied from another place is never taken for whole.
 */
export function encodeRecord(place: string, value: unknown): Uint8Array {
  const [placeJson, valueJson] = [canonicalJson(place), canonicalJson(value)];
  const sha256 = sha256Hex(Buffer.from(`{"place":${placeJson},"value":${valueJson}}`));
  return Buffer.from(`{"place":${placeJson},"sha256":"${sha256}","value":${valueJson}}`);
}

/** The value of a whole record; undefined if the bytes are not exactly those of `encodeRecord`. */
export function decodeRecord(place: string, bytes: Uint8Array): { value: unknown } | undefined {
  try {
    const { value } = JSON.parse(Buffer.from(bytes).toString()) as { value: unknown };
    return Buffer.from(encodeRecord(place, value)).equals(bytes) ? { value } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Create-only records in one folder, `<n>` or `<slot>-<n>`. What moves or may need repair is a series: nothing is
 * overwritten, the next number is created, readers take the highest whole one.
 */
export class RecordSeries {
  readonly #folder: StoreFolder;
  readonly directory: string;

  constructor(folder: StoreFolder, directory: string) {
    this.#folder = folder;
    this.directory = directory;
  }

  /** All places that have a record, whole or not, in no order. */
  async places(): Promise<RecordPlace[]> {
    return (await this.#folder.list(this.directory)).flatMap((name) => parseFileName(name) ?? []);
  }

  /** Numbers of a slot, highest first. */
  async numbers(slot = ''): Promise<number[]> {
    const places = await this.places();
    return places.flatMap((place) => (place.slot === slot ? [place.n] : [])).sort((a, b) => b - a);
  }

  /** One record; undefined if it is missing or damaged. */
  async read(n: number, slot = ''): Promise<{ value: unknown } | undefined> {
    const path = this.pathOf({ slot, n });
    const bytes = await this.#folder.read(path);
    return bytes && decodeRecord(path, bytes);
  }

  /** The highest record that `accept` takes for whole, by returning something. */
  async latest<T>(accept: Accept<T>, slot = ''): Promise<{ n: number; value: T } | undefined> {
    return this.#highestOf(await this.numbers(slot), accept, slot);
  }

  /** As `latest`, for every slot that has a whole record, by one look at the folder. */
  async latestOfEach<T>(accept: Accept<T>): Promise<T[]> {
    const numbers = new Map<string, number[]>();
    for (const { slot, n } of await this.places()) numbers.set(slot, [...(numbers.get(slot) ?? []), n]);
    const values: T[] = [];
    for (const [slot, ofSlot] of numbers) {
      ofSlot.sort((a, b) => b - a);
      const highest = await this.#highestOf(ofSlot, accept, slot);
      if (highest) values.push(highest.value);
    }
    return values;
  }

  async #highestOf<T>(
    numbers: number[],
    accept: Accept<T>,
    slot: string,
  ): Promise<{ n: number; value: T } | undefined> {
    for (const n of numbers) {
      const record = await this.read(n, slot);
      const value = record && (await accept(record.value));
      if (value !== undefined) return { n, value };
    }
    return undefined;
  }

  /** Creates record `n`; false if somebody else has. */
  async create(n: number, value: unknown, slot = ''): Promise<boolean> {
    const path = this.pathOf({ slot, n });
    return this.#folder.create(path, encodeRecord(path, value));
  }

  /**
   * Creates the next number unless there is a record that `accept` takes for whole.
   *
   * @returns that record, or the one created
   */
  async createUnless<T>(accept: Accept<T>, value: T, slot = ''): Promise<{ created: boolean; n: number; value: T }> {
    for (;;) {
      // Before looking for a whole one: a record that comes in between then has the number that we try to take.
      const next = ((await this.numbers(slot))[0] ?? 0) + 1;
      const whole = await this.latest(accept, slot);
      if (whole) return { created: false, ...whole };
      if (await this.create(next, value, slot)) return { created: true, n: next, value };
    }
  }

  /** Creates the next free number and returns it. */
  async append(value: unknown, slot = ''): Promise<number> {
    for (let n = ((await this.numbers(slot))[0] ?? 0) + 1; ; n++) {
      if (await this.create(n, value, slot)) return n;
    }
  }

  /** All whole records of a slot, oldest first. */
  async readAll(slot = ''): Promise<{ n: number; value: unknown }[]> {
    const records: { n: number; value: unknown }[] = [];
    for (const n of (await this.numbers(slot)).reverse()) {
      const record = await this.read(n, slot);
      if (record) records.push({ n, value: record.value });
    }
    return records;
  }

  /** When a record was created, in milliseconds since the epoch. */
  async createdAt(place: RecordPlace): Promise<number | undefined> {
    return (await this.#folder.stat(this.pathOf(place)))?.mtimeMs;
  }

  async remove(place: RecordPlace): Promise<void> {
    await this.#folder.remove(this.pathOf(place));
  }

  pathOf({ slot, n }: RecordPlace): string {
    return `${this.directory}/${slot === '' ? n : `${slot}-${n}`}`;
  }
}

function parseFileName(name: string): RecordPlace | undefined {
  const match = FILE_NAME.exec(name);
  return match ? { slot: match[1] ?? '', n: Number(match[2]) } : undefined;
}
