import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DuckDBConnection, DuckDBDataChunk, DuckDBInstance, DuckDBValue } from '@duckdb/node-api';
import { SoftflowError } from '../errors.ts';

export interface DuckOptions {
  /** Folder for the database file and for what does not fit into memory; both are removed by `close`. */
  tmpDir: string;
  /** DuckDB's own limit, for instance `1GB`. Its extra buffers come on top. */
  memoryLimit: string;
  threads: number;
}

/** One DuckDB database on disk, for one preparation. Loads no extension and keeps the order of insertion. */
export class Duck {
  readonly #instance: DuckDBInstance;
  readonly #connection: DuckDBConnection;
  readonly #files: string[];

  private constructor(instance: DuckDBInstance, connection: DuckDBConnection, files: string[]) {
    this.#instance = instance;
    this.#connection = connection;
    this.#files = files;
  }

  static async open({ tmpDir, memoryLimit, threads }: DuckOptions): Promise<Duck> {
    const path = join(tmpDir, `prepare-${randomUUID()}.duckdb`);
    const spill = `${path}.spill`;
    // Loaded on first use: a worker that only computes tensors, or has everything prepared, needs none.
    const { DuckDBInstance } = await import('@duckdb/node-api');
    const instance = await DuckDBInstance.create(path, {
      memory_limit: memoryLimit,
      threads: String(threads),
      temp_directory: spill,
      preserve_insertion_order: 'true',
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
    });
    return new Duck(instance, await instance.connect(), [path, `${path}.wal`, spill]);
  }

  /** Runs a statement; returns how many rows it changed. */
  async run(sql: string): Promise<number> {
    try {
      return (await this.#connection.run(sql)).rowsChanged;
    } catch (cause) {
      throw duckError(cause);
    }
  }

  /** All rows of a small result. */
  async rows<Row = Record<string, DuckDBValue>>(sql: string): Promise<Row[]> {
    try {
      return (await this.#connection.runAndReadAll(sql)).getRowObjects() as Row[];
    } catch (cause) {
      throw duckError(cause);
    }
  }

  /** The only row of a result whose columns are all counts or other numbers. */
  async numbers<Name extends string>(sql: string): Promise<Record<Name, number>> {
    const [row] = await this.rows(sql);
    return Object.fromEntries(Object.entries(row ?? {}).map(([name, value]) => [name, Number(value)])) as Record<
      Name,
      number
    >;
  }

  /** The result chunk by chunk (2,048 rows at most), never as a whole. */
  async *chunks(sql: string): AsyncGenerator<DuckDBDataChunk> {
    try {
      const result = await this.#connection.stream(sql);
      for (;;) {
        const chunk = await result.fetchChunk();
        if (!chunk || chunk.rowCount === 0) return;
        yield chunk;
      }
    } catch (cause) {
      throw duckError(cause);
    }
  }

  /** Fills a table of (integer, text). Has a connection of its own, so that `fill` may read a result meanwhile. */
  async append(table: string, fill: (append: (id: number, text: string) => void) => Promise<void>): Promise<void> {
    const connection = await this.#instance.connect();
    try {
      const appender = await connection.createAppender(table);
      await fill((id, text) => {
        appender.appendInteger(id);
        appender.appendVarchar(text);
        appender.endRow();
      });
      appender.closeSync();
    } finally {
      connection.closeSync();
    }
  }

  /** Fills a table of texts, with a connection of its own. */
  async appendTexts(table: string, rows: Iterable<readonly (string | null)[]>): Promise<void> {
    const connection = await this.#instance.connect();
    try {
      const appender = await connection.createAppender(table);
      for (const row of rows) {
        for (const value of row) value === null ? appender.appendNull() : appender.appendVarchar(value);
        appender.endRow();
      }
      appender.closeSync();
    } catch (cause) {
      throw duckError(cause);
    } finally {
      connection.closeSync();
    }
  }

  /** Stops the statement that is running; it fails with `CANCELLED`. */
  interrupt(): void {
    this.#connection.interrupt();
  }

  async close(): Promise<void> {
    this.#connection.closeSync();
    this.#instance.closeSync();
    await Promise.all(this.#files.map((file) => rm(file, { recursive: true, force: true })));
  }
}

function duckError(cause: unknown): SoftflowError {
  if (cause instanceof SoftflowError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (/INTERRUPT/.test(message)) return new SoftflowError('CANCELLED', 'Data preparation was stopped', { cause });
  if (/Out of Memory/i.test(message))
    return new SoftflowError('OUT_OF_MEMORY', `Data preparation ran out of memory: ${message}`, { cause });
  if (/No space left|max_temp_directory_size/i.test(message))
    return new SoftflowError('NO_SPACE', `Data preparation ran out of disk space: ${message}`, { cause });
  return new SoftflowError('DATA_UNREADABLE', `The data cannot be read: ${message}`, { cause });
}
