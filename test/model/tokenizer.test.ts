import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SoftflowError } from '../../errors.ts';
import { tokenizerFromGguf } from '../../model/gguf-tokenizer.ts';
import { parseModelConfig } from '../../model/model-config.ts';
import { END_OF_TEXT, tinyModel } from '../../model/tiny-model.ts';
import { createTokenizer, openTokenizer, type Tokenizer } from '../../model/tokenizer.ts';
import { openWeights } from '../../model/weights.ts';
import { findMovielens100k } from '../../setup/data-source.ts';
import { MUTATIONS, random } from '../support/fuzz.ts';
import { expectFailure } from './expect-failure.ts';
import { findSmollm2 } from './smollm2-file.ts';

const reference = fileURLToPath(new URL('../reference/', import.meta.url));
const golden = (name: string) => JSON.parse(readFileSync(join(reference, 'golden', `${name}.json`), 'utf8'));
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

const smollm2 = await findSmollm2();
const movielens = await findMovielens100k();

async function openTiny(): Promise<Tokenizer> {
  const folder = join(reference, 'tiny-llama');
  const config = parseModelConfig(JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')));
  return openTokenizer({ folder }, config);
}

interface TextIds {
  text: string;
  smollm2: number[];
  tiny: number[];
}

test('ids of a tokenizer.json are those of transformers, the beginning token aside', async () => {
  const tokenizer = await openTiny();
  expect(tokenizer.addBos).toBe(true);
  for (const { text, tiny } of golden('tokens-synthetic').texts as TextIds[]) {
    expect([tokenizer.bosTokenId, ...tokenizer.encode(text)], text).toEqual(tiny);
  }
});

describe.skipIf(!smollm2)('the tokenizer rebuilt from the metadata of SmolLM2', () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const source = { gguf: smollm2 as string };
    tokenizer = await openTokenizer(source, (await openWeights(source)).config);
  });

  test('has the ids of transformers for titles and prompts with quotes, accents, digits and special text', () => {
    for (const { text, smollm2 } of golden('tokens-synthetic').texts as TextIds[]) {
      expect(tokenizer.encode(text), text).toEqual(smollm2);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  test.skipIf(!movielens)('has the ids of transformers for 600 real prompts and titles', async () => {
    const texts = await realTexts(movielens as string);
    const rows = [...golden('tokens-movielens').prompts, ...golden('tokens-movielens').titles];
    expect(rows).toHaveLength(600);
    for (const { textSha256, idsSha256, tokens } of rows) {
      const text = texts.get(textSha256);
      expect(text, textSha256).toBeDefined();
      const ids = tokenizer.encode(text as string);
      expect(ids.length, text).toBe(tokens);
      expect(sha256(ids.join(',')), text).toBe(idsSha256);
    }
  });

  test('knows its end token and adds no beginning token', () => {
    expect(tokenizer).toMatchObject({ eosTokenId: 2, bosTokenId: 1, addBos: false, vocabSize: 49_152 });
  });

  test('merges across control characters that it has no symbol for', () => {
    expect(tokenizer.encode(' \x04###')).toEqual(tokenizer.encode(' ###'));
  });

  test('never takes a special token from text, whatever stands around it', () => {
    const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<repo_name>', '<filename>'];
    const piece = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom(...special, '</s>', '"', ' ', '\n', '3'));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const ids = tokenizer.encode(pieces.join(''));
        return ids.every((id) => id >= 17 && id < 49_152);
      }),
      { numRuns: 1_000, seed: 7 },
    );
  });
});

/** Texts by digest: the first ten titles of each user as a prompt, and each title by itself. */
async function realTexts(folder: string): Promise<Map<string, string>> {
  const rows = async (name: string) =>
    (await readFile(join(folder, name), 'utf8'))
      .split('\n')
      .slice(1)
      .filter((line) => line !== '')
      .map((line) => line.split('\t'));
  const titles = new Map((await rows('ml-100k.item')).map(([id = '', title = '']) => [id, title]));
  const histories = new Map<string, { time: number; title: string }[]>();
  for (const [user = '', item = '', , time] of await rows('ml-100k.inter')) {
    const history = histories.get(user) ?? [];
    history.push({ time: Number(time), title: titles.get(item) ?? '' });
    histories.set(user, history);
  }
  const prompts = [...histories.values()].map((history) => {
    const first = history.sort((a, b) => a.time - b.time).slice(0, 10);
    return prompt(first.map(({ title }) => title));
  });
  return new Map([...prompts, ...titles.values()].map((text) => [sha256(text), text]));
}

function prompt(titles: string[]): string {
  const listed = titles.map((title) => `"${title}"`).join(', ');
  return [
    'Below is an instruction that describes a task, paired with an input that provides further context. ',
    'Write a response that appropriately completes the request. \n\n### Instruction:\nGiven a list of movies the user ',
    'has watched before, please recommend a new movie that the user likes to the user.\n\n### Input:\nThe user has ',
    `watched the following movies before: ${listed}\n\n### Response:\n`,
  ].join('');
}

describe('a tokenizer of a folder', () => {
  const { tokenizer: json, config } = tinyModel();
  const settings = { eos_token: END_OF_TEXT };
  const create = (changes: object = {}, named: object = settings, model = config) =>
    createTokenizer({ ...json, ...changes }, named, model, 'tokenizer.json');

  test('gives back any text', () => {
    const tokenizer = create();
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => tokenizer.decode(tokenizer.encode(text)) === text),
      { numRuns: 500, seed: 3 },
    );
  });

  test('skips special tokens and unknown ids when it decodes, and cleans nothing up', () => {
    const tokenizer = create();
    const ids = [0, ...tokenizer.encode('Who , me ?'), 0, 100_000];
    expect(tokenizer.decode(ids)).toBe('Who , me ?');
    expect(tokenizer.decode([0])).toBe('');
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode(Int32Array.from(tokenizer.encode('abc')))).toBe('abc');
  });

  test('encodes the text of its special tokens as text, also where whole pieces skip the merges', () => {
    const model = { ...json.model, ignore_merges: true };
    const whole = create({ model, pre_tokenizer: { type: 'ByteLevel', use_regex: false, add_prefix_space: false } });
    for (const tokenizer of [create(), whole]) {
      expect(tokenizer.encode(END_OF_TEXT)).not.toContain(0);
      expect(tokenizer.decode(tokenizer.encode(END_OF_TEXT))).toBe(END_OF_TEXT);
    }
  });

  test('takes the end token by its name, else from the model', () => {
    expect(create().eosTokenId).toBe(0);
    expect(create({}, { eos_token: { content: END_OF_TEXT } }).eosTokenId).toBe(0);
    expect(create({}, {}, { ...config, eosTokenIds: [5] }).eosTokenId).toBe(5);
  });

  test('adds a beginning token when its template or its settings say so', () => {
    const post_processor = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: END_OF_TEXT, type_id: 0 } }] };
    const named = { ...settings, bos_token: END_OF_TEXT };
    expect(create({}, named).addBos).toBe(false);
    expect(create({ post_processor }, named).addBos).toBe(true);
    expect(create({ post_processor: { type: 'Sequence', processors: [post_processor] } }, named).addBos).toBe(true);
    expect(create({ post_processor }, { ...named, add_bos_token: false }).addBos).toBe(false);
    expect(create({}, { ...named, add_bos_token: true }).addBos).toBe(true);
  });

  test('has a digest that follows ids and rules', () => {
    expect(create().digest).toBe(create().digest);
    expect(create({}, { ...settings, bos_token: END_OF_TEXT, add_bos_token: true }).digest).not.toBe(create().digest);
    expect(create({ normalizer: { type: 'NFC' } }).digest).not.toBe(create().digest);
  });

  test('is refused when its ids do not fit the model', async () => {
    const model = { ...config, vocabSize: config.vocabSize - 1 };
    await expectFailure(() => create({}, settings, model), 'TOKENIZER_MISMATCH', /below 437.*up to 437/);
  });

  test.each<[string, object, RegExp]>([
    ['no model', { model: undefined }, /model/],
    ['a vocabulary of texts', { model: { ...json.model, vocab: { a: 'b' } } }, /model.vocab.a/],
    ['a merge that makes no token', { model: { ...json.model, merges: [['q', 'zz']] } }, /does not make a token/],
    ['two tokens with one id', { added_tokens: [{ id: 5, content: 'x' }] }, /token id 5 is both/],
    ['an id far out', { added_tokens: [{ id: 2 ** 31, content: 'x' }] }, /not below 2\^24/],
    ['a pattern of no kind', { normalizer: { type: 'Replace', pattern: {} } }, /neither Regex nor String/],
    ['an unknown step', { pre_tokenizer: { type: 'Nonsense' } }, /Nonsense/],
    ['a pattern that is none', { pre_tokenizer: split('(', 'Isolated') }, /no usable tokenizer/],
  ])('is refused with %s', async (_, changes, message) => {
    await expectFailure(() => create(changes), 'TOKENIZER_INVALID', message);
  });

  test('says so when it meets text that it has no token for', async () => {
    const model = { ...json.model, unk_token: '<unk>', vocab: { a: 1 }, merges: [] };
    const tokenizer = create({ model });
    expect(tokenizer.encode('a')).toEqual([1]);
    await expectFailure(() => tokenizer.encode('b'), 'TOKENIZER_INVALID', /unknown token is not in the vocabulary/);
  });

  test('is refused without an end token', async () => {
    await expectFailure(() => create({}, {}, { ...config, eosTokenIds: [] }), 'TOKENIZER_INVALID', /no end token/);
  });

  test('is refused by name when it is of a kind that would split otherwise', async () => {
    const unigram = { model: { type: 'Unigram', vocab: {}, merges: [] } };
    await expectFailure(() => create(unigram), 'MODEL_UNSUPPORTED', /Unigram.*BPE/);
    const merged = { pre_tokenizer: split(' ', 'MergedWithNext') };
    await expectFailure(() => create(merged), 'MODEL_UNSUPPORTED', /MergedWithNext.*Isolated/);
  });

  test('splits every Unicode digit off by itself', () => {
    const digits = { type: 'Digits', individual_digits: true };
    const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
    const vocab = { ...json.model.vocab, 'Â½Â½': 437 + 1 };
    const merges = [...json.model.merges, ['Â', '½'], ['Â½', 'Â½']];
    const model = { ...json.model, vocab: { ...vocab, 'Â½': 437 + 2 }, merges };
    const sized = { ...config, vocabSize: 500 };
    const plain = create({ model, pre_tokenizer: bytes }, settings, sized);
    expect(plain.encode('½½')).toEqual([438]);
    const split = create(
      { model, pre_tokenizer: { type: 'Sequence', pretokenizers: [digits, bytes] } },
      settings,
      sized,
    );
    expect(split.encode('½½')).toEqual([439, 439]);
  });
});

function split(pattern: string, behavior: string): object {
  return { type: 'Split', pattern: { Regex: pattern }, behavior, invert: false };
}

/** What stands where something else belongs. */
const ODD_VALUES = [
  ...[
    null,
    0,
    -1,
    1.5,
    2 ** 53,
    '',
    'x',
    'ByteLevel',
    'Sequence',
    'Split',
    'Metaspace',
    'Precompiled',
    '__proto__',
    true,
  ],
  ...[
    [],
    {},
    [null],
    { type: 'x' },
    { type: 'Sequence' },
    { type: 'Replace', pattern: { String: 'a' } },
    { Regex: '(' },
  ],
];

/** Replaces or removes one value somewhere in a JSON value. */
function mutateJson(root: object, below: (limit: number) => number): void {
  let node = root as Record<string, unknown>;
  for (;;) {
    const keys = Object.keys(node);
    if (keys.length === 0) return;
    const key = keys[below(keys.length)] as string;
    const inner = node[key];
    if (inner !== null && typeof inner === 'object' && below(5) > 0) {
      node = inner as Record<string, unknown>;
      continue;
    }
    if (below(4) === 0) delete node[key];
    else node[key] = structuredClone(ODD_VALUES[below(ODD_VALUES.length)]);
    return;
  }
}

test('mutated tokenizer files give a SoftflowError or a tokenizer whose ids are its own', () => {
  const { tokenizer, config } = tinyModel({ vocabSize: 262 });
  const steps = [
    { type: 'Digits', individual_digits: true },
    split('\\p{N}{1,3}', 'Isolated'),
    tokenizer.pre_tokenizer,
  ];
  const normalizers = [{ type: 'NFC' }, { type: 'Replace', pattern: { String: 'x' }, content: 'y' }];
  const whole = {
    ...tokenizer,
    normalizer: { type: 'Sequence', normalizers },
    pre_tokenizer: { type: 'Sequence', pretokenizers: steps },
    decoder: { type: 'Sequence', decoders: [tokenizer.decoder, { type: 'Strip', content: ' ', start: 1, stop: 0 }] },
  };
  const outcomes = { accepted: 0, refused: 0 };
  for (let seed = 0; seed < MUTATIONS / 20; seed++) {
    const json = structuredClone(whole);
    const below = random(seed);
    for (let times = 1 + below(2); times > 0; times--) mutateJson(json, below);
    try {
      const mutant = createTokenizer(json, { eos_token: END_OF_TEXT }, config, 'tokenizer.json');
      const ids = mutant.encode("He said 'x' 12 é");
      expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < mutant.vocabSize)).toBe(true);
      expect(typeof mutant.decode(ids)).toBe('string');
      outcomes.accepted++;
    } catch (error) {
      expect(error).toBeInstanceOf(SoftflowError);
      outcomes.refused++;
    }
  }
  expect(outcomes.accepted).toBeGreaterThan(MUTATIONS / 100);
  expect(outcomes.refused).toBeGreaterThan(MUTATIONS / 100);
});

describe('files that cannot be read', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-tokenizer-'));
    await cp(join(reference, 'tiny-llama'), folder, { recursive: true });
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('a tokenizer.json that nests too deep, one that is cut off, and one that is missing', async () => {
    const { config } = tinyModel();
    const path = join(folder, 'tokenizer.json');
    await writeFile(path, `${'['.repeat(65)}${']'.repeat(65)}`);
    await expectFailure(() => openTokenizer({ folder }, config), 'MODEL_FILE_DAMAGED', /nesting of at most 64/);
    await writeFile(path, '{"model":');
    await expectFailure(() => openTokenizer({ folder }, config), 'MODEL_FILE_DAMAGED', /tokenizer\.json.*JSON/);
    await rm(path);
    await expectFailure(
      () => openTokenizer({ folder }, config),
      'MODEL_FILE_MISSING',
      /tokenizer\.json does not exist/,
    );
  });
});

describe('tokenizerFromGguf', () => {
  const metadata = (changes: Record<string, unknown>) =>
    new Map(
      Object.entries({
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': 'smollm',
        'tokenizer.ggml.tokens': ['<e>', 'a', 'b', 'ab'],
        'tokenizer.ggml.token_type': [3, 1, 1, 1],
        'tokenizer.ggml.merges': ['a b'],
        'tokenizer.ggml.eos_token_id': 0,
        ...changes,
      }),
    ) as Parameters<typeof tokenizerFromGguf>[0];

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['another tokenizer model', { 'tokenizer.ggml.model': 'bert' }, /"bert".*"gpt2", "llama"/],
    ['another pre-tokenizer', { 'tokenizer.ggml.pre': 'poro-chat' }, /"poro-chat".*smollm/],
    ['a pre-tokenizer from the prototype', { 'tokenizer.ggml.pre': 'toString' }, /"toString"/],
  ])('refuses %s by name', async (_, changes, message) => {
    await expectFailure(() => tokenizerFromGguf(metadata(changes), 'x.gguf'), 'MODEL_UNSUPPORTED', message);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['no tokens', { 'tokenizer.ggml.tokens': undefined }, /tokens/],
    ['no merges', { 'tokenizer.ggml.merges': undefined }, /merges/],
    ['tokens that are no texts', { 'tokenizer.ggml.tokens': [1, 2] }, /a list of texts/],
    ['types for some tokens only', { 'tokenizer.ggml.token_type': [3] }, /4 numbers/],
  ])('refuses %s', async (_, changes, message) => {
    await expectFailure(() => tokenizerFromGguf(metadata(changes), 'x.gguf'), 'TOKENIZER_INVALID', message);
  });

  test('gives the ids of SentencePiece for a vocabulary with scores', () => {
    const { tokens, scores, types, texts } = golden('sentencepiece');
    const named = {
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.merges': undefined,
    };
    const { json, settings } = tokenizerFromGguf(
      metadata({
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.scores': scores,
        'tokenizer.ggml.token_type': types,
        ...named,
      }),
      'x.gguf',
    );
    const tokenizer = createTokenizer(json, settings, { vocabSize: tokens.length, eosTokenIds: [] }, 'x.gguf');
    expect(tokenizer).toMatchObject({ addBos: true, bosTokenId: 1, eosTokenId: 2 });
    for (const { text, ids } of texts as { text: string; ids: number[] }[]) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text);
    }
    const special = tokenizer.encode('<s></s><unk><0x41>');
    expect(special.some((id) => id < 3)).toBe(false);
    expect(tokenizer.decode(special)).toBe('<s></s><unk><0x41>');
  });

  test('refuses scores that are missing or not one for each token', async () => {
    const llama = { 'tokenizer.ggml.model': 'llama' };
    await expectFailure(() => tokenizerFromGguf(metadata(llama), 'x.gguf'), 'TOKENIZER_INVALID', /scores.*4 numbers/);
    const short = { ...llama, 'tokenizer.ggml.scores': [0, 1] };
    await expectFailure(() => tokenizerFromGguf(metadata(short), 'x.gguf'), 'TOKENIZER_INVALID', /a list of 2/);
  });

  test('makes control, unknown and unused tokens special and keeps user-defined ones in text', () => {
    const { json } = tokenizerFromGguf(metadata({ 'tokenizer.ggml.token_type': [3, 2, 4, 5] }), 'x.gguf');
    expect(json.added_tokens?.map(({ id, special }) => [id, special])).toEqual([
      [0, true],
      [1, true],
      [2, false],
      [3, true],
    ]);
  });

  test('adds a beginning token for Llama 3 unless the file says otherwise', () => {
    const bos = { 'tokenizer.ggml.pre': 'llama-bpe' };
    expect(tokenizerFromGguf(metadata(bos), 'x.gguf').settings.add_bos_token).toBe(true);
    const off = { ...bos, 'tokenizer.ggml.add_bos_token': false };
    expect(tokenizerFromGguf(metadata(off), 'x.gguf').settings.add_bos_token).toBe(false);
    expect(tokenizerFromGguf(metadata({}), 'x.gguf').settings.add_bos_token).toBe(false);
  });
});
