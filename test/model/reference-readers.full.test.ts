import { createHash } from 'node:crypto';
import { beforeAll, expect, type TestContext, test } from 'vitest';
import { decodeDistilled, decodeEmbeddings, encodeDistilled, encodeEmbeddings } from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';
import { readGguf } from '../../model/gguf.ts';
import { bytesSource } from '../../model/ranged-file.ts';
import { decodeSafetensors, encodeSafetensors } from '../../model/safetensors.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { type FuzzSeed, MUTATIONS, mutate } from '../support/fuzz.ts';
import {
  digestOfLines,
  type ReaderKind,
  readersPython,
  type Verdict,
  verdictsOf,
} from '../support/reference-readers.ts';
import { encodeGguf, entries, float32Tensor, type GgufDraft } from './gguf-writer.ts';

/** Reading twice takes time: a tenth of what the fuzzing of one reader does. */
const COUNT = MUTATIONS / 10;
const BATCH = 1000;

let python: string;
beforeAll(async () => {
  python = await readersPython();
}, 600_000);

interface Comparison {
  kind: ReaderKind;
  seeds: readonly FuzzSeed[];
  /** The lines of what was read, as `readers.py` writes them. */
  read(bytes: Uint8Array): string[] | Promise<string[]>;
  /** Why we may refuse what the format's own reader takes, by the text of our refusal. */
  stricter?: Readonly<Record<string, RegExp>>;
  /** Why we may take what it refuses, by the text of its refusal. */
  laxer?: Readonly<Record<string, RegExp>>;
}

/** Both readers come to the same verdict and, when it is to read, see the same; or the difference has a listed reason. */
async function expectSameVerdicts(context: TestContext, { kind, seeds, read, stricter = {}, laxer = {} }: Comparison) {
  const unexplained: string[] = [];
  const counts: Record<string, number> = { 'both read': 0, 'both refuse': 0 };
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  const explain = (reasons: Readonly<Record<string, RegExp>>, text: string) =>
    Object.keys(reasons).find((name) => reasons[name]?.test(text));
  for (let first = 0; first < COUNT; first += BATCH) {
    const documents = Array.from({ length: BATCH }, (_, i) =>
      mutate(seeds[((first + i) >> 1) % seeds.length] as FuzzSeed, first + i),
    );
    const theirs = verdictsOf(python, kind, documents);
    for (const [i, bytes] of documents.entries()) {
      const mine = await verdictOf(read, bytes);
      const other = theirs[i] as Verdict;
      if (mine.accepted && other.accepted) {
        count('both read');
        if (mine.text !== other.text) unexplained.push(`${first + i}: both read it, but not the same`);
      } else if (!mine.accepted && !other.accepted) count('both refuse');
      else {
        const reason = mine.accepted ? explain(laxer, other.text) : explain(stricter, mine.text);
        if (reason) count(reason);
        else unexplained.push(`${first + i}: ${mine.accepted ? `only we read it: ${other.text}` : mine.text}`);
      }
    }
  }
  expect(unexplained).toEqual([]);
  expect(counts['both read']).toBeGreaterThan(0);
  const figure = Object.entries(counts).map(([name, times]) => `${name} ${times}`);
  faultFigure(context, COUNT, `${kind}: ${figure.join(', ')}`);
}

async function verdictOf(read: Comparison['read'], bytes: Uint8Array): Promise<Verdict> {
  try {
    return { accepted: true, text: digestOfLines(await read(bytes)) };
  } catch (error) {
    if (!(error instanceof SoftflowError)) throw error;
    return { accepted: false, text: error.message };
  }
}

const sha256 = (data: ArrayBufferView) =>
  createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
const listOf = (numbers: readonly number[]) => `[${numbers.join(', ')}]`;

test('safetensors: the same verdict as its own reader, or a listed reason (S2)', async (context) => {
  const bytes = encodeSafetensors(
    {
      weight: { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, -2.5, 3e-8, 0, -0, 7) },
      moment: { dtype: 'F64', shape: [2], data: Float64Array.of(Math.PI, -1e-300) },
      position: { dtype: 'I32', shape: [], data: Int32Array.of(-7) },
      flags: { dtype: 'U8', shape: [3], data: Uint8Array.of(0, 1, 255) },
      none: { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) },
    },
    { format: 'pt' },
  );
  const headerEnd = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  await expectSameVerdicts(context, {
    kind: 'safetensors',
    seeds: [{ bytes, header: [0, headerEnd] }],
    read: async (document) =>
      [...(await decodeSafetensors(document)).tensors].map(
        ([name, { shape, data }]) => `${name} ${listOf(shape)} ${sha256(data)}`,
      ),
  });
});

test('GGUF: the same verdict as its own reader, or a listed reason (S2)', async (context) => {
  const draft: GgufDraft = {
    metadata: entries({ 'general.architecture': 'llama', 'llama.block_count': 2, 'some.texts': ['a', 'é'] }),
    tensors: [
      float32Tensor('a', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
      float32Tensor('b', [1], Float32Array.of(9)),
    ],
  };
  const aligned = { ...draft, metadata: entries({ 'general.alignment': 64 }), alignment: 64 };
  await expectSameVerdicts(context, {
    kind: 'gguf',
    seeds: [draft, aligned].map((file) => ({ bytes: encodeGguf(file), header: [0, -64] as const })),
    read: async (document) =>
      [...(await readGguf(bytesSource(document, 'x.gguf'))).tensors].map(
        ([name, { shape }]) => `${name} ${listOf(shape)}`,
      ),
    stricter: {
      'tensors that do not follow one another': /tensor .* offset/,
      'text that is not UTF-8': /UTF-8/,
      'numbers beyond 2^53': /2\^53/,
    },
  });
});

test('Arrow: the same verdict as its own reader, or a listed reason (S2)', async (context) => {
  const row = {
    windowId: 'a:1',
    text: 'Añ',
    tokenIds: [5, 6, 7],
    logProbability: -0.1,
    beamTexts: ['A', 'B'],
    beamScores: [-1, -2],
  };
  const files = [
    encodeDistilled([row, { ...row, windowId: 'b:1' }]),
    encodeEmbeddings(Float32Array.of(1, 2, 3, 4, 5, 6), 2),
  ];
  const names = "['windowId', 'text', 'tokenIds', 'logProbability', 'beamTexts', 'beamScores']";
  await expectSameVerdicts(context, {
    kind: 'arrow',
    seeds: files.map((bytes) => {
      const footerBytes = new DataView(bytes.buffer, bytes.byteOffset).getInt32(bytes.length - 10, true);
      return { bytes, header: [-footerBytes - 10, bytes.length] as const };
    }),
    read: (document) =>
      Buffer.from(document).includes('embedding')
        ? [`${decodeEmbeddings(document).titleRows.length} ['titleRow', 'embedding']`]
        : [`${decodeDistilled(document).length} ${names}`],
    stricter: {
      'buffers that overlap, or whose place is not a multiple of eight': /a buffer at/,
      'more buffers than columns need': /more nodes or buffers than columns/,
      'FlatBuffers that are not whole, where nobody has to look':
        /table without fields|field outside of its table|an offset to byte|the number -?\d+/,
      'names that are not UTF-8': /name that is not UTF-8/,
      'another schema than softflow writes': /another schema|type that softflow does not write|without a type|children/,
      'lists of no values': /with lists of 0 values/,
      'batches elsewhere than where softflow writes them': /a batch at/,
      'the magic at its beginning': /no whole Arrow IPC file/,
      'another version of the metadata': /metadata version/,
    },
    // A part of the footer that nobody reads: softflow checks what it reads.
    laxer: { footer: /Verification of flatbuffer-encoded Footer/ },
  });
});
