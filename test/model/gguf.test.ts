import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { GGUF_LIMITS, readGguf } from '../../model/gguf.ts';
import { bytesSource } from '../../model/ranged-file.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { type Below, expectSafeReader, FUZZ_TIMEOUT_MS, random } from '../support/fuzz.ts';
import { expectFailure } from './expect-failure.ts';
import {
  type DraftEntry,
  type DraftTensor,
  encodeGguf,
  entries,
  float32Tensor,
  GGUF,
  type GgufDraft,
} from './gguf-writer.ts';

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

/** Makes a whole file a damaged one. */
type Damage = (whole: GgufDraft, below: Below) => GgufDraft;

const header =
  (changes: Partial<GgufDraft>): Damage =>
  (whole) => ({ ...whole, ...changes });
const entry =
  (...added: DraftEntry[]): Damage =>
  (whole) => ({ ...whole, metadata: [...whole.metadata, ...added] });
const entryOf = (key: string, type: number, value: DraftEntry['value']) => entry({ key, type, value });
const array = (type: number, length: bigint) => entryOf('k', GGUF.array, { type, values: [], length });
/** The first tensor with `changes`. */
const first =
  (changes: Partial<DraftTensor>): Damage =>
  (whole) => {
    const [tensor, ...rest] = whole.tensors;
    return { ...whole, tensors: [{ ...(tensor as DraftTensor), ...changes }, ...rest] };
  };
/** An entry that aligns to 64 although the data lies at multiples of 32. */
const realigned = entry(...entries({ 'general.alignment': 64 }));

const OTHER_ALIGNMENTS = [
  { type: GGUF.string, value: '32' },
  { type: GGUF.uint64, value: 32n },
  { type: GGUF.float32, value: 32 },
];

/** The 26 classes of llama.cpp's test-gguf, in its order. */
const REFUSED: [name: string, damage: Damage, message: RegExp][] = [
  ['another magic', header({ magic: 'GGML' }), /magic/],
  ['version 0', header({ version: 0 }), /version.*Received: 0/],
  ['version 1', header({ version: 1 }), /version.*Received: 1/],
  ['a version to come', header({ version: 4 }), /version.*Received: 4/],
  ['too many tensors', header({ tensorCount: big }), /number of tensors/],
  ['too many metadata entries', header({ keyCount: big }), /number of metadata entries/],
  ['a key that is too long', entryOf('k'.repeat(513), GGUF.uint32, 1), /at most 512 bytes/],
  ['an empty key', entryOf('', GGUF.uint32, 1), /an empty text/],
  ['an unknown value type', (whole, below) => entryOf('k', 13 + below(1000), 1)(whole, below), /type of "k"/],
  ['a key given twice', (whole, below) => entry(pick(whole.metadata, below))(whole, below), /each key once/],
  [
    'an alignment that is no power of two',
    (whole, below) =>
      entryOf('general.alignment', GGUF.uint32, [0, 3, 24, 33, 2 ** 31 + 1][below(5)] as number)(whole, below),
    /general.alignment.*a power of two/,
  ],
  [
    'an alignment of another type',
    (whole, below) => entry({ key: 'general.alignment', ...pick(OTHER_ALIGNMENTS, below) })(whole, below),
    /general.alignment.*as uint32/,
  ],
  [
    'a tensor name that is too long',
    (whole, below) => first({ name: 'n'.repeat(64 + below(400)) })(whole, below),
    /at most 63 bytes/,
  ],
  ['too many dimensions', (whole, below) => first({ dimCount: 5 + below(2 ** 31) })(whole, below), /at most 4/],
  [
    'a negative dimension',
    (whole, below) => first({ dims: [2n ** 64n - 1n - BigInt(below(1000))] })(whole, below),
    /dimension 0.*2\^53/,
  ],
  ['a product of dimensions beyond 2^53', first({ dims: [2n ** 40n, 2n ** 40n] }), /2\^53 values/],
  ['a size in bytes beyond 2^53', first({ dims: [2n ** 52n] }), /shape.*2\^53 bytes/],
  [
    'an unknown tensor type',
    (whole, below) => first({ type: [4, 5, 36, 200, 2 ** 31][below(5)] as number })(whole, below),
    /type number \d+/,
  ],
  ['an offset that is not aligned', (whole, below) => first({ offset: 1 + below(31) })(whole, below), /offset/],
  [
    'a tensor name given twice',
    (whole, below) => ({ ...whole, tensors: [...whole.tensors, pick(whole.tensors, below)] }),
    /each name once/,
  ],
  [
    'a row that is no whole number of blocks',
    (whole, below) => first({ type: 8, dims: [33 + below(31)] })(whole, below),
    /a multiple of 32/,
  ],
  [
    'tensors at offsets of another alignment',
    (whole, below) =>
      realigned({ ...whole, tensors: [float32Tensor('0', [8], new Float32Array(8)), ...whole.tensors] }, below),
    /offset/,
  ],
  [
    'too little data',
    (whole, below) => ({
      ...whole,
      tensors: [{ ...float32Tensor('t', [8], new Float32Array(8)), dims: [9 + below(1000)] }],
    }),
    /cut off/,
  ],
  ['an offset that leaves a hole', (whole, below) => first({ offset: 32 * (1 + below(100)) })(whole, below), /offset/],
  [
    'tensors that overlap',
    (whole) => ({
      ...whole,
      tensors: [...whole.tensors, { ...float32Tensor('t', [8], new Float32Array(8)), offset: 0 }],
    }),
    /offset/,
  ],
  [
    'sizes that together go beyond 2^53',
    (whole) => ({
      ...whole,
      tensors: [0, 2 ** 52].map((offset, i) => ({
        ...float32Tensor(`t${i}`, [1], new Float32Array(1)),
        dims: [2n ** 50n],
        offset,
      })),
    }),
    /tensor data.*2\^53 bytes/,
  ],
];

/** Classes of our own. */
const ALSO_REFUSED: typeof REFUSED = [
  ['a big-endian file', header({ version: 0x03000000 }), /big-endian/],
  [
    'more tensors than there are',
    (whole) => ({ ...whole, tensorCount: BigInt(whole.tensors.length + 60) }),
    /tensor|cut off/,
  ],
  [
    'more metadata entries than there are',
    (whole) => ({ ...whole, keyCount: BigInt(whole.metadata.length + 60) }),
    /UTF-8|type|length|key|cut off/,
  ],
  ['an array of arrays', array(GGUF.array, 1n), /type of the values/],
  ['an array longer than the file', array(GGUF.uint8, 1_000_000n), /cut off/],
  ['an array of texts longer than the file', array(GGUF.string, 5000n), /cut off|text/],
  ['an array of more than 4 Mi values', array(GGUF.uint8, 4_194_305n), /at most 4194304/],
  ['an array length beyond 2^53', array(GGUF.uint32, big), /length of "k".*2\^53/],
  ['a boolean that is 2', entryOf('k', GGUF.bool, 2), /0 or 1/],
  ['a dimension beyond 2^53', first({ dims: [big] }), /dimension 0.*2\^53/],
];

function pick<T>(list: readonly T[], below: Below): T {
  return list[below(list.length)] as T;
}

/** A whole file with metadata and tensors drawn from a seed. */
function randomDraft(seed: number): GgufDraft {
  const below = random(seed);
  const values = [1, 2.5, true, 'text', ['a', 'é'], [1, 2, 3]];
  const metadata = entries(
    Object.fromEntries(Array.from({ length: 1 + below(6) }, (_, i) => [`key.${i}`, pick(values, below)])),
  );
  const tensors = Array.from({ length: 1 + below(4) }, (_, i) => {
    const shape = Array.from({ length: 1 + below(4) }, () => 1 + below(5));
    const size = shape.reduce((product, dim) => product * dim, 1);
    return float32Tensor(
      `tensor.${i}`,
      shape,
      Float32Array.from({ length: size }, () => below(100)),
    );
  });
  return { metadata, tensors };
}

describe('a damaged or hostile file is refused', () => {
  test.for([...REFUSED, ...ALSO_REFUSED])('%s, in each of 100 files (S2)', async ([, damage, message], context) => {
    faultFigure(context, 100, '');
    for (let seed = 0; seed < 100; seed++) {
      const whole = randomDraft(seed);
      await read(encodeGguf(whole));
      await expectFailure(() => read(encodeGguf(damage(whole, random(seed)))), 'MODEL_FILE_DAMAGED', message);
    }
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

  test('a header above the limit, although the file is whole (S3)', async () => {
    const bytes = encodeGguf(draft());
    const limits = { ...GGUF_LIMITS, headerBytes: 100 };
    await expectFailure(() => read(bytes, limits), 'MODEL_FILE_DAMAGED', /too long.*at most 100 bytes/);
  });

  test('more than 65,536 tensors (S3)', async () => {
    const bytes = encodeGguf(draft({ tensorCount: 65_537n }));
    await expectFailure(() => read(bytes), 'MODEL_FILE_DAMAGED', /at most 65536/);
  });
});

test('mutations of a file give a SoftflowError or a whole file (S1)', { timeout: FUZZ_TIMEOUT_MS }, async (context) => {
  const seedOf = (file: GgufDraft) => ({ bytes: encodeGguf(file), header: [0, -64] as const });
  await expectSafeReader(context, {
    whole: [draft(), randomDraft(1), randomDraft(2)].map(seedOf),
    refused: [...REFUSED, ...ALSO_REFUSED].map(([name, damage, message]) => ({
      name,
      message,
      ...seedOf(damage(draft(), random(1))),
    })),
    read: async (bytes) => {
      for (const tensor of (await read(bytes)).tensors.values()) await tensor.read();
    },
  });
});
