import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesSource } from '../../model/ranged-file.ts';
import {
  decodeSafetensors,
  encodeSafetensors,
  openSafetensors,
  readSafetensors,
  SAFETENSORS_LIMITS,
  type SafetensorsValue,
} from '../../model/safetensors.ts';
import { expectSafeReader, FUZZ_TIMEOUT_MS } from '../support/fuzz.ts';
import { expectFailure } from './expect-failure.ts';

/** A file from its header text and data bytes. */
function file(header: string, data: ArrayLike<number> = [], length = Buffer.byteLength(header)): Uint8Array {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(length));
  return new Uint8Array(Buffer.concat([prefix, Buffer.from(header), Uint8Array.from(data)]));
}

const zeros = (count: number) => new Uint8Array(count);

const TENSORS: Record<string, SafetensorsValue> = {
  weight: { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, -2.5, 3e-8, 0, -0, 7) },
  moment: { dtype: 'F64', shape: [2], data: Float64Array.of(Math.PI, -1e-300) },
  position: { dtype: 'I32', shape: [], data: Int32Array.of(-7) },
  seen: { dtype: 'I64', shape: [1], data: BigInt64Array.of(2n ** 40n) },
  flags: { dtype: 'U8', shape: [3], data: Uint8Array.of(0, 1, 255) },
  none: { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) },
};

describe('encodeSafetensors', () => {
  test('reads back every dtype, shape and metadata entry', async () => {
    const { tensors, metadata } = await decodeSafetensors(encodeSafetensors(TENSORS, { b: '2', a: 'é "x"' }));
    expect(Object.fromEntries(tensors)).toEqual(TENSORS);
    expect(Object.fromEntries(metadata)).toEqual({ a: 'é "x"', b: '2' });
  });

  test('gives the same bytes whatever the order of tensors and metadata', () => {
    const reversed = Object.fromEntries(Object.entries(TENSORS).reverse());
    expect(encodeSafetensors(reversed, { a: '1', b: '2' })).toEqual(encodeSafetensors(TENSORS, { b: '2', a: '1' }));
  });

  test('aligns the data of each tensor to its element size', async () => {
    const bytes = encodeSafetensors(TENSORS);
    const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(headerBytes % 8).toBe(0);
    const header = JSON.parse(Buffer.from(bytes.subarray(8, 8 + headerBytes)).toString());
    for (const [name, { data }] of Object.entries(TENSORS)) {
      expect(header[name].data_offsets[0] % data.BYTES_PER_ELEMENT, name).toBe(0);
    }
  });

  test('writes part of a larger buffer, not the buffer', async () => {
    const part = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const { tensors } = await decodeSafetensors(encodeSafetensors({ part: { dtype: 'F32', shape: [2], data: part } }));
    expect(tensors.get('part')?.data).toEqual(Float32Array.of(1, 2));
  });

  test.each([
    ['data of another length', { dtype: 'F32', shape: [3], data: Float32Array.of(1, 2) }],
    ['data of another type', { dtype: 'F32', shape: [2], data: Int32Array.of(1, 2) }],
  ] as const)('refuses %s', (_, value) => {
    expect(() => encodeSafetensors({ x: { ...value, shape: [...value.shape] } })).toThrow(/tensor "x".*Expected/);
  });
});

describe('openSafetensors', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-safetensors-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('reads single tensors of a file in ranges', async () => {
    const path = join(folder, 'a.safetensors');
    await writeFile(path, encodeSafetensors(TENSORS, { step: '3' }));
    const { names, tensors, metadata } = await openSafetensors(path);
    expect([...names].sort()).toEqual(Object.keys(TENSORS).sort());
    expect(metadata.get('step')).toBe('3');
    expect(await tensors.get('weight')?.read()).toEqual(TENSORS['weight']?.data);
    expect(await tensors.get('seen')?.read()).toEqual(Float32Array.of(2 ** 40));
    expect(await tensors.get('flags')?.bytes()).toEqual(Uint8Array.of(0, 1, 255));
  });

  test('names a file that is not there', async () => {
    await expectFailure(() => openSafetensors(join(folder, 'absent')), 'MODEL_FILE_MISSING', /absent does not exist/);
  });

  test('notices a file that shrank after it was opened', async () => {
    const path = join(folder, 'shrinks.safetensors');
    await writeFile(path, encodeSafetensors(TENSORS));
    const { tensors } = await openSafetensors(path);
    await writeFile(path, 'short');
    await expectFailure(() => tensors.get('weight')?.read(), 'MODEL_FILE_DAMAGED', /too short/);
  });
});

test('16-bit floats become the float32 values they stand for, subnormal, infinite and NaN included', async () => {
  const half = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0xfc00, 0x7e00);
  const brain = Uint16Array.of(0x3f80, 0xc0a0, 0x0001);
  const bytes = encodeSafetensors({
    half: { dtype: 'F16', shape: [8], data: half },
    brain: { dtype: 'BF16', shape: [3], data: brain },
  });
  const { tensors } = await readSafetensors(bytesSource(bytes));
  const { POSITIVE_INFINITY: inf, NaN: nan } = Number;
  const expected = [1, -2, 2 ** -24, -1023 * 2 ** -24, 65504, inf, -inf, nan];
  expect([...((await tensors.get('half')?.read()) ?? [])]).toEqual(expected);
  expect([...((await tensors.get('brain')?.read()) ?? [])]).toEqual([1, -5, 2 ** -133]);
});

test('a dtype that no model here uses is refused by name when it is read', async () => {
  const { tensors } = await readSafetensors(
    bytesSource(file('{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', [1])),
  );
  await expectFailure(() => tensors.get('x')?.read(), 'MODEL_UNSUPPORTED', /F8_E4M3/);
});

const f32 = (extra: string) => `{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]${extra}}`;

/** Every rule that a header can break, with a file that breaks it. */
const REFUSED: [name: string, bytes: Uint8Array, message: RegExp][] = [
  ['an empty file', new Uint8Array(0), /too short/],
  ['a header longer than the file', file('{}', [], 100), /header length/],
  ['a header length beyond 2^53', Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255), /header length/],
  ['an empty header', file(''), /begins with/],
  ['a header that is not an object', file('[]'), /begins with/],
  ['a header with space before it', file(' {}'), /begins with/],
  ['bytes that are not UTF-8', new Uint8Array(Buffer.concat([file('{"', [0xff], 3)])), /UTF-8/],
  ['JSON that stops early', file('{"x":'), /header/],
  ['text after the JSON', file('{}x'), /text after/],
  ['a name given twice', file(`${f32('')},"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, zeros(4)), /twice/],
  ['a name given twice by an escape', file(`${f32('')},"\\u0078":1}`, zeros(4)), /twice/],
  ['a field given twice', file(`${f32(',"dtype":"U8"')}}`, zeros(4)), /twice/],
  ['a field that nobody knows', file(`${f32(',"stride":[1]')}}`, zeros(4)), /stride/],
  ['metadata that is no text', file('{"__metadata__":{"a":1}}'), /__metadata__/],
  ['metadata that is no object', file('{"__metadata__":[]}'), /__metadata__/],
  ['an unknown dtype', file('{"x":{"dtype":"F31","shape":[],"data_offsets":[0,4]}}', zeros(4)), /F31/],
  ['a dtype from the prototype', file('{"x":{"dtype":"toString","shape":[],"data_offsets":[0,4]}}', zeros(4)), /dtype/],
  ['a tensor that is no object', file('{"x":3}'), /an object/],
  ['a tensor called __proto__ that is no object', file('{"__proto__":null}'), /__proto__/],
  ['no shape', file('{"x":{"dtype":"U8","data_offsets":[0,4]}}', zeros(4)), /shape/],
  ['a negative dimension', file('{"x":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}'), /shape/],
  ['a fractional dimension', file('{"x":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}', [0]), /shape/],
  ['a number beyond 2^53', file('{"x":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,0]}}'), /2\^53/],
  [
    'a shape that overflows',
    file('{"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}'),
    /2\^53/,
  ],
  [
    'nine dimensions',
    file('{"x":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}', [0]),
    /8 dimensions/,
  ],
  ['a shape with other bytes', file('{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', zeros(4)), /8 bytes/],
  ['an end before its begin', file('{"x":{"dtype":"U8","shape":[0],"data_offsets":[4,0]}}', zeros(4)), /begin <= end/],
  ['three offsets', file('{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}'), /data_offsets/],
  ['a hole before the data', file('{"x":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}', zeros(4)), /hole/],
  [
    'tensors that overlap',
    file(
      '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
      zeros(4),
    ),
    /overlap/,
  ],
  ['appended bytes', file(`${f32('')}}`, zeros(5)), /bytes of data/],
  ['missing bytes', file(`${f32('')}}`, zeros(3)), /bytes of data/],
  ['a name of 513 bytes', file(`{"${'n'.repeat(513)}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), /512 bytes/],
  ['nesting', file(`{"x":${'['.repeat(5000)}${']'.repeat(5000)}}`), /nesting/],
];

describe('a damaged or hostile header is refused', () => {
  test.each(REFUSED)('%s (S2)', async (_, bytes, message) => {
    await expectFailure(() => decodeSafetensors(bytes, 'x.safetensors'), 'MODEL_FILE_DAMAGED', message);
  });

  test('the caps hold at their figure and one above it (S3)', async () => {
    const entries = (count: number) =>
      file(`{${Array.from({ length: count }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`)}}`);
    const limits = { ...SAFETENSORS_LIMITS, tensors: 3, headerBytes: 200 };
    expect((await decodeSafetensors(entries(3), 'x', limits)).tensors.size).toBe(3);
    await expect(decodeSafetensors(entries(4), 'x', limits)).rejects.toThrow(/number of tensors|header length/);
    const padded = (bytes: number) => file(`{}${' '.repeat(bytes - 2)}`);
    expect((await decodeSafetensors(padded(200), 'x', limits)).tensors.size).toBe(0);
    await expect(decodeSafetensors(padded(201), 'x', limits)).rejects.toThrow(/at most 200 bytes/);
  });

  test('65,537 tensors are refused and 65,536 are not (S3)', async () => {
    const entries = (count: number) =>
      file(`{${Array.from({ length: count }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`)}}`);
    expect((await decodeSafetensors(entries(65_536))).tensors.size).toBe(65_536);
    await expect(decodeSafetensors(entries(65_537))).rejects.toThrow(/at most 65536/);
  });

  test('a header, a name and a shape are read at their cap and refused one above it (S3)', async () => {
    const padded = (bytes: number) => file(`{}${' '.repeat(bytes - 2)}`);
    const { headerBytes, nameBytes, dims } = SAFETENSORS_LIMITS;
    expect((await decodeSafetensors(padded(headerBytes))).tensors.size).toBe(0);
    await expect(decodeSafetensors(padded(headerBytes + 1))).rejects.toThrow(/at most 16777216 bytes/);
    const tensor = (name: string, shape: number[]) =>
      file(`{${JSON.stringify(name)}:{"dtype":"U8","shape":[${shape}],"data_offsets":[0,1]}}`, [0]);
    const ones = (count: number) => Array.from({ length: count }, () => 1);
    await decodeSafetensors(tensor('é'.repeat(nameBytes / 2), ones(dims)));
    await expect(decodeSafetensors(tensor(`${'é'.repeat(nameBytes / 2)}n`, [1]))).rejects.toThrow(/at most 512 bytes/);
    await expect(decodeSafetensors(tensor('n', ones(dims + 1)))).rejects.toThrow(/at most 8 dimensions/);
  });

  test('a tensor called __proto__ is a tensor like any other', async () => {
    const { tensors } = await decodeSafetensors(
      file('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', [5]),
    );
    expect(tensors.get('__proto__')?.data).toEqual(Uint8Array.of(5));
  });
});

test('mutations of a file give a SoftflowError or a whole file (S1)', { timeout: FUZZ_TIMEOUT_MS }, async (context) => {
  const whole = encodeSafetensors(TENSORS, { format: 'pt' });
  const headerEnd = 8 + Number(new DataView(whole.buffer).getBigUint64(0, true));
  await expectSafeReader(context, {
    whole: [{ bytes: whole, header: [0, headerEnd] }],
    refused: REFUSED.map(([name, bytes, message]) => ({ name, bytes, message, header: [0, bytes.length] })),
    read: async (bytes) => {
      const { tensors } = await readSafetensors(bytesSource(bytes));
      for (const tensor of tensors.values()) await tensor.read();
    },
  });
});
