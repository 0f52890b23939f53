import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Duck } from '../../datasets/duck.ts';
import { copyParquet } from '../../datasets/sources/parquet.ts';
import { columnSql, openTabular, readCsvSql, type TabularFile } from '../../datasets/sources/tabular.ts';
import { checkText, readBytes, TEXT_LIMITS } from '../../datasets/sources/text-file.ts';
import { expectSafeReader, FUZZ_TIMEOUT_MS } from '../support/fuzz.ts';
import { temporaryFolder } from './fixtures.ts';

const folder = await temporaryFolder();
const path = join(folder, 'mutant');
const COLUMNS = { user: 'user_id', item: 'item_id', time: 'timestamp' };
const CSV: TabularFile = { path, delimiter: ',', quoted: true, columns: COLUMNS };
const TSV: TabularFile = { ...CSV, delimiter: '\t' };
const RECBOLE: TabularFile = { ...TSV, quoted: false, nameEnd: ':' };

const text = (header: string, separator: string) =>
  Buffer.from(`${header}\n"a ""1""",é,1700000000\n${'u,x,1700000001\r\n'.repeat(5)}`.replaceAll(',', separator));
const csv = text('user_id,item_id,timestamp', ',');
const tsv = text('user_id,item_id,timestamp', '\t');
const recbole = text('user_id:token,item_id:token,timestamp:float', '\t');

let duck: Duck;
beforeAll(async () => {
  duck = await Duck.open({ tmpDir: folder, memoryLimit: '200MB', threads: 1 });
});
afterAll(() => duck.close());

/** Rows that DuckDB reads of a file, and those that it rejects. */
async function readRows(file: TabularFile): Promise<{ rows: number; rejected: number }> {
  const opened = await openTabular(file);
  try {
    await duck.run(
      `CREATE OR REPLACE TABLE mutant AS SELECT ${columnSql(opened, 'user')} FROM ${readCsvSql(opened, 'bad')}`,
    );
    return await duck.numbers('SELECT (SELECT count(*) FROM mutant) AS rows, (SELECT count(*) FROM bad) AS rejected');
  } finally {
    await duck.run('DROP TABLE IF EXISTS bad');
    await duck.run('DROP TABLE IF EXISTS bad_scans');
  }
}

const FULL = process.env['SOFTFLOW_TEST_FULL'] === '1';

describe('mutations of a text file', () => {
  it('give a SoftflowError or rows: CSV, TSV and RecBole (S1)', { timeout: FUZZ_TIMEOUT_MS }, async (context) => {
    const kinds = new Map([
      [csv, CSV],
      [tsv, TSV],
      [recbole, RECBOLE],
    ]);
    let count = 0;
    await expectSafeReader(context, {
      whole: [...kinds.keys()].map((bytes) => ({ bytes, header: [0, bytes.indexOf('\n') + 1] })),
      read: async (bytes) => {
        await writeFile(path, bytes);
        const kind = bytes.includes(0x2c) ? CSV : count % 2 === 0 ? TSV : RECBOLE;
        // DuckDB has fuzzers of its own: in CI every 32nd file goes on to it.
        if (FULL || count++ % 32 === 0) await readRows(kind);
        else await openTabular(kind);
      },
      classes: {
        'a column is missing': /Expected column/,
        'nothing in it': /found an empty file/,
        'a quote that stays open': /is never closed/,
      },
    });
  });

  it('give a SoftflowError or the bytes: gzip (S1)', { timeout: FUZZ_TIMEOUT_MS }, async (context) => {
    const bytes = gzipSync(Buffer.concat([csv, csv, csv]));
    await expectSafeReader(context, {
      whole: [{ bytes, header: [0, 10] }],
      read: async (mutant) => {
        await writeFile(path, mutant);
        await checkText(CSV, true);
      },
      classes: {
        'not gzip': /incorrect header check/,
        'an unknown method or flag': /unknown compression method|unknown header flags/,
        'a damaged stream': /invalid (?:block|stored|distance|literal|code|bit)/,
        'a wrong checksum': /incorrect data check|incorrect length check/,
        'cut off': /unexpected end of file/,
      },
    });
  });
});

// DuckDB's own reader takes it all: the full level sees that it stays so.
describe.runIf(FULL)('mutations of a Parquet file', () => {
  it('give a SoftflowError or rows (S1)', { timeout: FUZZ_TIMEOUT_MS }, async (context) => {
    const parquet = join(folder, 'mutant.parquet');
    const rows =
      "SELECT 'u' || (i % 7) AS user_id, 'i' || i AS item_id, 1700000000 + i AS timestamp FROM range(60) t(i)";
    await duck.run(`COPY (${rows}) TO '${parquet}' (FORMAT parquet)`);
    const bytes = await readFile(parquet);
    await expectSafeReader(context, {
      whole: [{ bytes, header: [-600, bytes.length] }],
      read: async (mutant) => {
        await writeFile(parquet, mutant);
        await copyParquet(duck, parquet, COLUMNS, join(folder, 'rows.csv'));
      },
      classes: { magic: /No magic bytes/, metadata: /Invalid data|know what type/, pages: /decompress|dictionary/i },
    });
  });
});

describe('the caps of a text file', () => {
  const refusal = (reading: Promise<unknown>) =>
    reading.then(
      () => 'read',
      (error: Error) => error.message,
    );
  const row = (lineBytes: number) => `user_id,item_id,timestamp\nu,${'x'.repeat(lineBytes - 4)},1\nv,y,2\n`;

  it('a line of 16 MiB is a row, one byte more is refused with its place (S3)', async () => {
    await writeFile(path, row(TEXT_LIMITS.lineBytes));
    expect(await readRows(CSV)).toEqual({ rows: 2, rejected: 0 });
    await writeFile(path, row(TEXT_LIMITS.lineBytes + 1));
    expect(await refusal(openTabular(CSV))).toMatch(/lines of at most 16777216 bytes.*a longer one at byte 26/);
  });

  it('a header of 4,096 columns and of less than 1 MiB is read, more is refused (S3)', async () => {
    const wide = (columns: number) => `user_id,item_id,timestamp${',c'.repeat(columns - 3)}\n${'x,'.repeat(columns)}\n`;
    await writeFile(path, wide(4096));
    expect((await openTabular(CSV)).width).toBe(4096);
    await writeFile(path, wide(4097));
    expect(await refusal(openTabular(CSV))).toMatch(/at most 4096 columns.*found 4097/);
    const long = (bytes: number) => `user_id,item_id,timestamp,"${'x'.repeat(bytes - 28)}"\n`;
    await writeFile(path, long(2 ** 20 - 1));
    expect((await openTabular(CSV)).width).toBe(4);
    await writeFile(path, long(2 ** 20 + 1));
    expect(await refusal(openTabular(CSV))).toMatch(/a header line of at most 1048576 bytes/);
  });

  it('gzip unpacks to 1 MiB whatever its size, to 200 times its size, to 64 GiB in all, and to no byte more (S3)', async () => {
    const unpack = async (packed: Buffer, limits = TEXT_LIMITS) => {
      await writeFile(path, packed);
      let bytes = 0;
      for await (const chunk of readBytes(path, true, limits)) bytes += chunk.length;
      return bytes;
    };
    expect(await unpack(gzipSync(Buffer.alloc(2 ** 20)))).toBe(2 ** 20);
    expect(await refusal(unpack(gzipSync(Buffer.alloc(2 ** 20 + 1))))).toMatch(/at most 1048576 bytes from \d+ packed/);
    const packed = gzipSync(Buffer.alloc(2 ** 21));
    const ratio = Math.ceil(2 ** 21 / packed.length);
    expect(await unpack(packed, { ...TEXT_LIMITS, ratio })).toBe(2 ** 21);
    expect(await refusal(unpack(packed, { ...TEXT_LIMITS, ratio: ratio - 1 }))).toMatch(/found 2\d+ or more/);
    expect(TEXT_LIMITS.unpackedBytes).toBe(64 * 2 ** 30);
    expect(await unpack(packed, { ...TEXT_LIMITS, ratio, unpackedBytes: 2 ** 21 })).toBe(2 ** 21);
    expect(await refusal(unpack(packed, { ...TEXT_LIMITS, ratio, unpackedBytes: 2 ** 21 - 1 }))).toMatch(
      /at most 2097151/,
    );
  });
});
