import {
  Field,
  Int32,
  List,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Schema,
  Table,
  tableToIPC,
  Uint8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';
import { ARROW_LIMITS } from '../../datasets/arrow-check.ts';
import {
  decodeDistilled,
  decodeEmbeddings,
  decodeTable,
  encodeDistilled,
  encodeEmbeddings,
  encodeTable,
} from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';
import { expectSafeReader, FUZZ_TIMEOUT_MS } from '../support/fuzz.ts';

const ROW = {
  windowId: 'a:1',
  text: 'Añ',
  tokenIds: [5, 6, 7],
  logProbability: -0.1,
  beamTexts: ['A', 'B'],
  beamScores: [-1, -2],
};
const DISTILLED = encodeDistilled([ROW, { ...ROW, windowId: 'b:1' }]);
const EMBEDDINGS = encodeEmbeddings(Float32Array.of(1, 2, 3, 4, 5, 6), 2);

/** Where the only batch lies. */
function blockOf(bytes: Uint8Array) {
  const block = RecordBatchReader.from(bytes).open().footer?.getRecordBatch(0);
  if (!block) throw new Error('no batch');
  return { metadata: block.offset, body: block.offset + block.metaDataLength, bodyBytes: block.bodyLength };
}

const longs = (...values: number[]) => Buffer.from(BigInt64Array.from(values.map(BigInt)).buffer);

/** A copy in which `from`, found at or after `start`, is `to`. */
function patched(bytes: Uint8Array, start: number, from: Uint8Array, to: Uint8Array): Uint8Array {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(from, start);
  if (at < 0) throw new Error('nothing to patch');
  copy.set(to, at);
  return new Uint8Array(copy);
}

const metadata = blockOf(DISTILLED).metadata;
const { body, bodyBytes } = blockOf(DISTILLED);
const inBatch = (from: Uint8Array, to: Uint8Array) => patched(DISTILLED, metadata, from, to);
const inBody = (offset: number, ...values: number[]) => {
  const bytes = DISTILLED.slice();
  bytes.set(new Uint8Array(Int32Array.from(values).buffer), body + offset);
  return bytes;
};
/** The footer's own table says at which of its bytes the schema is; 0 means nowhere. */
function withoutSchema(): Uint8Array {
  const bytes = DISTILLED.slice();
  const view = new DataView(bytes.buffer);
  const footer = bytes.length - 10 - view.getInt32(bytes.length - 10, true);
  const root = footer + view.getUint32(footer, true);
  view.setUint16(root - view.getInt32(root, true) + 6, 0, true);
  return bytes;
}
const table = (columns: Record<string, Vector>) => tableToIPC(new Table(columns), 'file');
const read = (bytes: Uint8Array) => decodeDistilled(bytes);

describe('an Arrow file is refused before Arrow reads it when it has', () => {
  it.each<[string, Uint8Array, RegExp]>([
    ['no magic at its end', DISTILLED.subarray(0, -1), /no whole Arrow IPC file/],
    [
      'a footer longer than the file',
      patched(DISTILLED, DISTILLED.length - 10, DISTILLED.subarray(-10, -6), longs(2 ** 30).subarray(0, 4)),
      /a footer of 1073741824 bytes/,
    ],
    ['no schema', withoutSchema(), /a footer without a schema/],
    [
      'rows that its buffers cannot hold',
      inBatch(longs(2, 0), longs(300, 0)),
      /column windowId of 300 values, expected 2/,
    ],
    ['more nulls than rows', inBatch(longs(2, 0), longs(2, 3)), /column windowId of 2 values/],
    ['nulls without a bitmap', inBatch(longs(2, 0), longs(2, 1)), /0 bytes of validity in column windowId, expected 1/],
    ['a negative count', inBatch(longs(2, 0), longs(-2, 0)), /the number -2/],
    [
      'list values that its buffers cannot hold',
      inBatch(longs(6, 0), longs(60, 0)),
      /bytes of values in column id, expected 240/,
    ],
    ['a buffer that leaves the body', inBatch(longs(0, 16), longs(0, bodyBytes + 8)), /a buffer at 0 of/],
    ['a buffer at no multiple of eight', inBatch(longs(0, 16), longs(4, 16)), /a buffer at 4/],
    ['buffers that overlap', inBatch(longs(16, 8), longs(8, 8)), /a buffer at 8 of 8/],
    ['another length of body in footer and message', inBatch(longs(bodyBytes), longs(bodyBytes - 8)), /a body of/],
    [
      'no message where the footer says',
      patched(DISTILLED, metadata, Uint8Array.of(255, 255, 255, 255), new Uint8Array(4)),
      /no message/,
    ],
    ['offsets that fall', inBody(0, 0, 5, 3), /windowId: expected offsets that never fall/],
    ['offsets beyond the values', inBody(0, 0, 3, 60), /windowId: expected offsets up to/],
    ['a negative offset', inBody(0, -4, 3, 6), /windowId: expected 3 offsets/],
    ['text that is not UTF-8', inBody(16, -1), /windowId: expected UTF-8 text/],
    ['a dictionary', table({ text: vectorFromArray(['a', 'b']) }), /Column text has a type[\s\S]*a dictionary/],
    ['integers of another width', table({ a: vectorFromArray([1], new Uint8()) }), /unsigned 8-bit integers/],
  ])('%s (S2)', (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(SoftflowError);
    expect(() => read(bytes)).toThrow(message);
  });

  it('the form of a stream (S2)', () => {
    const stream = new RecordBatchStreamWriter().writeAll(new Table({ a: vectorFromArray([1], new Int32()) }));
    expect(() => read(stream.toUint8Array(true))).toThrow(/no whole Arrow IPC file/);
  });

  it('one column, one level or one byte of a name more than the caps (S3)', () => {
    const flat = (count: number, name = 'c') =>
      new Schema(Array.from({ length: count }, (_, i) => new Field(`${name}${i}`, new Int32(), false)));
    const nested = (depth: number): Field =>
      depth === 0 ? new Field('v', new Int32(), false) : new Field('l', new List(nested(depth - 1)), false);
    const roundTrip = (schema: Schema) => {
      const columns = Object.fromEntries(schema.fields.map(({ name }) => [name, []]));
      return decodeTable(encodeTable(schema, columns), schema);
    };
    const { fields, depth, nameBytes } = ARROW_LIMITS;
    expect(Object.keys(roundTrip(flat(fields)).columns)).toHaveLength(fields);
    expect(() => roundTrip(flat(fields + 1))).toThrow(/more than 4096 columns/);
    expect(roundTrip(new Schema([nested(depth)])).rows).toBe(0);
    expect(() => roundTrip(new Schema([nested(depth + 1)]))).toThrow(/nested deeper than 8/);
    expect(roundTrip(flat(1, 'n'.repeat(nameBytes - 1))).rows).toBe(0);
    expect(() => roundTrip(flat(1, 'n'.repeat(nameBytes)))).toThrow(/a name of 513 bytes/);
  });
});

describe('mutations of an Arrow file', () => {
  const seedOf = (bytes: Uint8Array) => {
    const footerBytes = new DataView(bytes.buffer, bytes.byteOffset).getInt32(bytes.length - 10, true);
    const { metadata: from, body: to } = blockOf(bytes);
    return [
      { bytes, header: [-footerBytes - 10, bytes.length] as const },
      { bytes, header: [from, to] as const },
    ];
  };

  it('give a SoftflowError or a whole table, and Arrow itself never fails (S1)', {
    timeout: FUZZ_TIMEOUT_MS,
  }, async (context) => {
    await expectSafeReader(context, {
      whole: [...seedOf(DISTILLED), ...seedOf(EMBEDDINGS)],
      read: (bytes) => {
        try {
          if (Buffer.from(bytes).includes('embedding')) decodeEmbeddings(bytes);
          else decodeDistilled(bytes);
        } catch (error) {
          const cause = error instanceof SoftflowError ? error.cause : undefined;
          if (cause !== undefined && !/UTF-8/.test((error as Error).message)) throw cause;
          throw error;
        }
      },
      classes: {
        magic: /no whole Arrow IPC file/,
        'length of the footer': /a footer of -?\d+ bytes/,
        'offset of a FlatBuffer': /an offset to byte/,
        'table of a FlatBuffer': /a table without fields/,
        'field of a FlatBuffer': /a field outside of its table/,
        'number beyond 2^53': /the number -?\d+, expected 0 to 2\^53/,
        'version of the metadata': /metadata version/,
        'big-endian': /big-endian/,
        dictionaries: /dictionaries/,
        'type of a column': /a type that softflow does not write/,
        'no type': /without a type/,
        'children of a column': /with \d+ children/,
        'size of a fixed-size list': /lists of -?\d+ values/,
        'another schema': /another schema/,
        'place of a batch': /a batch at/,
        'no message': /no message of/,
        'kind of message': /where a record batch should be/,
        'length of the body': /a body of/,
        'place of a buffer': /a buffer at/,
        'rows of a column': /of \d+ values, expected \d+/,
        'bytes of a buffer': /bytes of (?:offsets|values)/,
        'bytes of a bitmap': /bytes of validity/,
        'more nodes than columns': /more nodes or buffers/,
        'offsets that fall': /never fall/,
        'offsets beyond the values': /offsets up to/,
        'UTF-8': /UTF-8/,
      },
    });
  });
});
