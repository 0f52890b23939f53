import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { GGUF_LIMITS, readGguf } from '../../model/gguf.ts';
import { bytesSource } from '../../model/ranged-file.ts';
import { expectFailure } from './expect-failure.ts';
import { fuzz, MUTATIONS } from './fuzz.ts';
import { type DraftTensor, encodeGguf, entries, float32Tensor, GGUF, type GgufDraft } from './gguf-writer.ts';

const read = (bytes: Uint8Array, limits = GGUF_LIMITS) => readGguf(bytesSource(bytes, 'x.gguf'), limits);

const VALUES = Float32Array.of(1, 2, 3, 4, 5, 6);

/** A whole file with two tensors; `changes` replaces parts of it. */
function draft(changes: Partial<GgufDraft> = {}): GgufDraft {
  return {
    metadata: entries({ 'general.architecture': 'llama', 'llama.block_count': 2, 'some.texts': ['a', 'é'] }),
    tensors: [float32Tensor('a', [2, 3], VALUES), float32Tensor('b', [1], Float32Array.of(9))],
    ...changes,
  };
}

const tensor = (changes: Partial<DraftTensor>): GgufDraft => {
  const whole: DraftTensor = { name: 'a', dims: [8], type: 0, data: new Uint8Array(32) };
  return draft({ tensors: [{ ...whole, ...changes }] });
};

describe('openGguf', () => {
  test.each([2, 3])('reads metadata, shapes and values of version %i', async (version) => {
    const file = await read(encodeGguf(draft({ version })));
    expect(file.version).toBe(version);
    expect(Object.fromEntries(file.metadata)).toEqual({
      'general.architecture': 'llama',
      'llama.block_count': 2,
      'some.texts': ['a', 'é'],
    });
    expect(file.tensors.get('a')).toMatchObject({ type: 'F32', shape: [2, 3] });
    expect(await file.tensors.get('a')?.read()).toEqual(VALUES);
    expect(await file.tensors.get('b')?.read()).toEqual(Float32Array.of(9));
  });

  test('reads 64-bit integers beyond 2^53 without losing a digit', async () => {
    const metadata = [{ key: 'big', type: GGUF.uint64, value: 2n ** 63n + 1n }];
    expect((await read(encodeGguf(draft({ metadata })))).metadata.get('big')).toBe(2n ** 63n + 1n);
  });

  test('keeps a key called __proto__ as a key like any other', async () => {
    const { metadata } = await read(encodeGguf(draft({ metadata: entries({ __proto__x: 1, ['__proto__']: 7 }) })));
    expect(metadata.get('__proto__')).toBe(7);
  });

  test('follows an alignment of the file', async () => {
    const metadata = entries({ 'general.alignment': 128 });
    const { tensors } = await read(encodeGguf(draft({ metadata, alignment: 128 })));
    expect(await tensors.get('b')?.read()).toEqual(Float32Array.of(9));
  });

  test('accepts a file without tensors, and a tensor without values', async () => {
    expect((await read(encodeGguf(draft({ tensors: [] })))).tensors.size).toBe(0);
    const { tensors } = await read(encodeGguf(tensor({ dims: [0, 4], data: new Uint8Array(0) })));
    expect(await tensors.get('a')?.read()).toEqual(new Float32Array(0));
  });
});

interface Block {
  type: string;
  typeId: number;
  hex: string;
  values: number[];
}

const { blocks } = JSON.parse(
  readFileSync(new URL('../reference/golden/gguf-blocks.json', import.meta.url), 'utf8'),
) as { blocks: Block[] };

test.each(blocks)('$type decodes to the values of the reference', async ({ type, typeId, hex, values }) => {
  const data = new Uint8Array(Buffer.from(hex, 'hex'));
  const file = await read(encodeGguf(tensor({ dims: [values.length], type: typeId, data })));
  expect(file.tensors.get('a')?.type).toBe(type);
  expect([...((await file.tensors.get('a')?.read()) ?? [])]).toEqual(values.map(Math.fround));
});

const big = 2n ** 62n;
const arrayEntry = (type: number, length: bigint) => [
  { key: 'k', type: GGUF.array, value: { type, values: [], length } },
];

// The classes of llama.cpp's test-gguf, in its order, and a few of our own.
describe('a damaged or hostile file is refused', () => {
  test.each<[string, GgufDraft, RegExp]>([
    ['another magic', draft({ magic: 'GGML' }), /magic/],
    ['version 0', draft({ version: 0 }), /version.*Received: 0/],
    ['version 1', draft({ version: 1 }), /version.*Received: 1/],
    ['a version to come', draft({ version: 4 }), /version.*Received: 4/],
    ['a big-endian file', draft({ version: 0x03000000 }), /big-endian/],
    ['too many tensors', draft({ tensorCount: big }), /number of tensors/],
    ['too many metadata entries', draft({ keyCount: big }), /number of metadata entries/],
    ['more tensors than there are', draft({ tensorCount: 3n }), /tensor|header is cut off/],
    ['more metadata entries than there are', draft({ keyCount: 4n }), /UTF-8|type|length|key/],
    ['a key that is too long', draft({ metadata: entries({ ['k'.repeat(513)]: 1 }) }), /at most 512 bytes/],
    ['an empty key', draft({ metadata: entries({ '': 1 }) }), /an empty text/],
    ['an unknown value type', draft({ metadata: [{ key: 'k', type: 13, value: 1 }] }), /type of "k"/],
    ['a key given twice', draft({ metadata: [...entries({ k: 1 }), ...entries({ k: 2 })] }), /each key once/],
    ['an alignment that is no power of two', draft({ metadata: entries({ 'general.alignment': 24 }) }), /alignment/],
    ['an alignment of 0', draft({ metadata: entries({ 'general.alignment': 0 }) }), /alignment/],
    ['an alignment of another type', draft({ metadata: entries({ 'general.alignment': '32' }) }), /alignment/],
    [
      'an alignment as uint64',
      draft({ metadata: [{ key: 'general.alignment', type: GGUF.uint64, value: 32n }] }),
      /as uint32/,
    ],
    ['an array of arrays', draft({ metadata: arrayEntry(GGUF.array, 1n) }), /type of the values/],
    ['an array longer than the file', draft({ metadata: arrayEntry(GGUF.uint8, 1_000_000n) }), /cut off/],
    ['an array of texts longer than the file', draft({ metadata: arrayEntry(GGUF.string, 500n) }), /cut off|text/],
    ['an array of more than 4 Mi values', draft({ metadata: arrayEntry(GGUF.uint8, 4_194_305n) }), /at most 4194304/],
    ['an array length beyond 2^53', draft({ metadata: arrayEntry(GGUF.uint32, big) }), /2\^53/],
    ['a boolean that is 2', draft({ metadata: [{ key: 'k', type: GGUF.bool, value: 2 }] }), /0 or 1/],
    ['a tensor name that is too long', tensor({ name: 'n'.repeat(64) }), /at most 63 bytes/],
    ['too many dimensions', tensor({ dimCount: 5 }), /at most 4/],
    ['a negative dimension', tensor({ dims: [2n ** 64n - 1n] }), /2\^53/],
    ['a dimension beyond 2^53', tensor({ dims: [big] }), /2\^53/],
    ['a product of dimensions beyond 2^53', tensor({ dims: [2n ** 40n, 2n ** 40n] }), /2\^53 values/],
    ['a size in bytes beyond 2^53', tensor({ dims: [2n ** 52n] }), /2\^53 bytes/],
    ['an unknown tensor type', tensor({ type: 200 }), /type number 200/],
    ['a removed tensor type', tensor({ type: 4 }), /type number 4/],
    ['a row that is no whole number of blocks', tensor({ type: 8, dims: [33] }), /a multiple of 32/],
    ['an offset that is not aligned', tensor({ offset: 4 }), /offset/],
    ['an offset that leaves a hole', tensor({ offset: 32 }), /offset/],
    [
      'tensors that overlap',
      draft({ tensors: [...draft().tensors.slice(0, 1), { ...tensor({}).tensors[0]!, name: 'b', offset: 0 }] }),
      /offset/,
    ],
    ['a tensor name given twice', draft({ tensors: [...tensor({}).tensors, ...tensor({}).tensors] }), /each name once/],
    [
      'data at another alignment than the file says',
      draft({ metadata: entries({ 'general.alignment': 64 }) }),
      /offset|cut off/,
    ],
    ['too little data', tensor({ dims: [9] }), /cut off/],
  ])('%s', async (_, damaged, message) => {
    await expectFailure(() => read(encodeGguf(damaged)), 'MODEL_FILE_DAMAGED', message);
  });

  test('a type that exists but is not read is refused by its name', async () => {
    await expectFailure(() => read(encodeGguf(tensor({ type: 10 }))), 'MODEL_UNSUPPORTED', /Q2_K.*Q4_K/);
  });

  test('every truncation, from an empty file to the last value', async () => {
    const whole = encodeGguf(draft());
    const end = whole.length - 28;
    await read(whole.subarray(0, end));
    for (let length = 0; length < end; length++) {
      await expectFailure(() => read(whole.subarray(0, length)), 'MODEL_FILE_DAMAGED', /too short|cut off/);
    }
  });

  test('a text that is not UTF-8', async () => {
    const bytes = encodeGguf(draft());
    bytes[Buffer.from(bytes).indexOf('llama')] = 0xff;
    await expectFailure(() => read(bytes), 'MODEL_FILE_DAMAGED', /UTF-8/);
  });

  test('a header above the limit, although the file is whole', async () => {
    const bytes = encodeGguf(draft());
    const limits = { ...GGUF_LIMITS, headerBytes: 100 };
    await expectFailure(() => read(bytes, limits), 'MODEL_FILE_DAMAGED', /too long.*at most 100 bytes/);
  });

  test('more than 65,536 tensors', async () => {
    const bytes = encodeGguf(draft({ tensorCount: 65_537n }));
    await expectFailure(() => read(bytes), 'MODEL_FILE_DAMAGED', /at most 65536/);
  });
});

test('thousands of mutations give a SoftflowError or a whole file, quickly and in little memory', async () => {
  const original = encodeGguf(draft());
  const headerBytes = original.length - 64;
  const result = await fuzz(original, headerBytes, async (bytes) => {
    for (const tensor of (await read(bytes)).tensors.values()) await tensor.read();
  });
  expect(result.untyped).toEqual([]);
  expect(result.refused).toBeGreaterThan(MUTATIONS / 2);
  expect(result.slowest.ms).toBeLessThan(1_000);
  expect(result.growth).toBeLessThan(4 * original.length + 64 * 2 ** 20);
});
