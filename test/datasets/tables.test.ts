import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import {
  Field,
  Float64,
  Int32,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Schema,
  Table,
  tableToIPC,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeCurriculum,
  decodeDistances,
  decodeDistilled,
  decodeEmbeddings,
  decodeItems,
  decodePredictions,
  decodeTable,
  decodeTitles,
  decodeWindows,
  encodeCurriculum,
  encodeDistances,
  encodeDistilled,
  encodeEmbeddings,
  encodeItems,
  encodePredictions,
  encodeTable,
  encodeTitles,
  encodeWindows,
  writeTableFile,
} from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';

const WINDOWS = [
  { windowId: 'é:1', userId: 'é', targetIndex: 1, history: [7], target: 2, targetTimeMs: -5n },
  { windowId: ':12', userId: '', targetIndex: 12, history: [1, 2, 3], target: 0, targetTimeMs: 2n ** 60n },
];

describe('tables', () => {
  it('come back as they went in', () => {
    expect(decodeWindows(encodeWindows(WINDOWS))).toEqual(WINDOWS);
    const items = [{ itemId: '007', title: '🎬 "x"', titleRow: 0 }];
    expect(decodeItems(encodeItems(items))).toEqual(items);
    const titles = [{ title: 'T', firstItem: 3, popularity: 0 }];
    expect(decodeTitles(encodeTitles(titles))).toEqual(titles);
    const distilled = [
      {
        windowId: 'a:1',
        text: '"A"',
        tokenIds: [5, 6],
        logProbability: -0.1,
        beamTexts: ['A', ''],
        beamScores: [-0.1, -2],
      },
      { windowId: 'b:1', text: '', tokenIds: [], logProbability: 0, beamTexts: [], beamScores: [] },
    ];
    expect(decodeDistilled(encodeDistilled(distilled))).toEqual(distilled);
    const distances = [{ windowId: 'a:1', text: 'A', distance: 1.5 }];
    expect(decodeDistances(encodeDistances(distances))).toEqual(distances);
    const predictions = Array.from({ length: 11 }, (_, i) => ({
      windowId: `a:${i}`,
      targetRow: i,
      text: 'A',
      rank: 1,
      distance: 0,
      nearest: 2,
      exists: i % 3 === 0,
      valid: i % 2 === 0,
    }));
    expect(decodePredictions(encodePredictions(predictions))).toEqual(predictions);
    const curriculum = [
      { epoch: 1, lambda: 1, distance: 41, distanceAfter: 3.5, trainLoss: 2, validation: Number.NaN },
    ];
    expect(decodeCurriculum(encodeCurriculum(curriculum))).toEqual(curriculum);
  });

  it('hold any rows of text and lists, none at all included', () => {
    const row = fc.record({
      windowId: fc.string({ unit: 'grapheme' }),
      userId: fc.string(),
      targetIndex: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      history: fc.array(fc.nat({ max: 2 ** 31 - 1 })),
      target: fc.nat({ max: 1000 }),
      targetTimeMs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    });
    fc.assert(
      fc.property(fc.array(row), (rows) => {
        expect(decodeWindows(encodeWindows(rows))).toEqual(rows);
      }),
    );
  });

  it('are the same bytes for the same rows', () => {
    expect(Buffer.compare(encodeWindows(WINDOWS), encodeWindows(structuredClone(WINDOWS)))).toBe(0);
  });

  it('refuse values that the schema cannot hold, naming column and row', () => {
    const items = [{ itemId: 'a', title: 'A', titleRow: 0 }];
    for (const titleRow of [1.5, 2 ** 31, Number.NaN])
      expect(() => encodeItems([...items, { itemId: 'b', title: 'B', titleRow }])).toThrow(/titleRow, row 1/);
    expect(() => encodeItems([{ ...items[0], title: undefined } as never])).toThrow(/title, row 0; got undefined/);
    expect(() => encodeTable('items', { itemId: ['a'], title: ['A'] })).toThrow('Expected column titleRow');
    expect(() => encodeTable('items', { itemId: ['a'], title: ['A'], titleRow: [] })).toThrow('Expected 1 rows');
  });

  it('say which schema was expected and which received', () => {
    expect(() => decodeTitles(encodeItems([]))).toThrow(
      /Expected \{title: Utf8, firstItem: Int32, popularity: Int32\}\nReceived \{itemId: Utf8, title: Utf8, titleRow: Int32\}/,
    );
    const nullable = new Schema([
      new Field('windowId', new Utf8(), true),
      new Field('text', new Utf8(), false),
      new Field('distance', new Float64(), false),
    ]);
    expect(() => decodeDistances(encodeTable(nullable, { windowId: [], text: [], distance: [] }))).toThrow(
      'windowId: Utf8?',
    );
  });

  it('refuse nulls behind a schema that has none', () => {
    const bytes = tableToIPC(new Table({ titleRow: vectorFromArray([1, null], new Int32()) }), 'file');
    const schema = new Schema([new Field('titleRow', new Int32(), true)]);
    expect(() => decodeTable(bytes, schema)).toThrow(/Column titleRow: expected 2 rows without nulls/);
  });

  it('refuse a stream, a truncated file and random bytes with a clear error', () => {
    const whole = encodeWindows(WINDOWS);
    const stream = new RecordBatchStreamWriter()
      .writeAll(new Table({ a: vectorFromArray([1], new Int32()) }))
      .toUint8Array(true);
    for (const bytes of [stream, whole.subarray(0, whole.length - 20), new Uint8Array(0), Buffer.from('ARROW1ARROW1')])
      expect(() => decodeWindows(bytes)).toThrow(expect.objectContaining({ code: 'TABLE_DAMAGED' }));
  });

  it('never fail with anything but their own error when bytes of their values or offsets are flipped', () => {
    const whole = encodeDistilled([
      {
        windowId: 'a:1',
        text: 'A',
        tokenIds: [5, 6],
        logProbability: -0.1,
        beamTexts: ['A', 'B'],
        beamScores: [-1, -2],
      },
    ]);
    const block = RecordBatchReader.from(whole).open().footer?.getRecordBatch(0);
    const body = (block?.offset ?? 0) + (block?.metaDataLength ?? 0);
    let refused = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: body, max: body + (block?.bodyLength ?? 0) - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (at, flip) => {
          const bytes = whole.slice();
          bytes[at] = (bytes[at] as number) ^ flip;
          try {
            decodeDistilled(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(SoftflowError);
            refused++;
          }
        },
      ),
      { numRuns: 2000 },
    );
    expect(refused).toBeGreaterThan(100);
  });
});

describe('embeddings', () => {
  it('come back flat, from any place in memory', () => {
    const vectors = Float32Array.from({ length: 12 }, (_, i) => i / 7);
    const bytes = encodeEmbeddings(vectors, 4);
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    for (const source of [bytes, shifted.subarray(3)]) {
      const found = decodeEmbeddings(source);
      expect(found.size).toBe(4);
      expect(Array.from(found.vectors)).toEqual(Array.from(vectors));
      expect(Array.from(found.titleRows)).toEqual([0, 1, 2]);
    }
  });

  it('refuse vectors that do not fill whole rows and tables of another kind', () => {
    expect(() => encodeEmbeddings(new Float32Array(7), 4)).toThrow(expect.objectContaining({ code: 'TABLE_INVALID' }));
    expect(() => decodeEmbeddings(encodeWindows([]))).toThrow(expect.objectContaining({ code: 'TABLE_SCHEMA' }));
  });
});

describe('a table written batch by batch', () => {
  const schema = new Schema([new Field('n', new Int32(), false)]);
  async function written(batches: () => AsyncGenerator<{ n: Int32Array }>): Promise<Uint8Array> {
    const folder = await mkdtemp(join(tmpdir(), 'softflow-tables-'));
    try {
      await writeTableFile(join(folder, 'table'), schema, batches());
      return await readFile(join(folder, 'table'));
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  it('is one file with all rows, or with none', async () => {
    const two = await written(async function* () {
      yield { n: Int32Array.of(1, 2) };
      yield { n: Int32Array.of(3) };
    });
    expect(decodeTable(two, schema)).toEqual({ rows: 3, columns: { n: Int32Array.of(1, 2, 3) } });
    const none = await written(async function* () {});
    expect(decodeTable(none, schema).rows).toBe(0);
  });

  it('ends with the error of a source that fails half-way, and leaves no other behind', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown) => void unhandled.push(error);
    process.on('unhandledRejection', note);
    const failing = written(async function* () {
      yield { n: Int32Array.of(1) };
      throw new Error('the source broke');
    });
    await expect(failing).rejects.toThrow('the source broke');
    await setImmediate();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });
});
