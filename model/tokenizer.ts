import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import * as z from 'zod';
import { SoftflowError } from '../errors.ts';
import { byteSymbols } from './byte-symbols.ts';
import { openGguf } from './gguf.ts';
import { tokenizerFromGguf } from './gguf-tokenizer.ts';
import { readJsonFile } from './json-file.ts';
import type { ModelConfig } from './model-config.ts';
import type { ModelSource } from './weights.ts';

/** Text to token ids and back, for one model. */
export interface Tokenizer {
  /**
   * Token ids of a text, without a beginning or end token. Text that spells a special token (`<|im_end|>`, `</s>`)
   * is encoded like any other text: special ids never come from content.
   */
  encode(text: string): number[];
  /** The text of token ids. Special tokens and ids that no token has are skipped; nothing is cleaned up. */
  decode(ids: ArrayLike<number>): string;
  readonly eosTokenId: number;
  readonly bosTokenId?: number;
  /** The model's own rule: whether a prompt begins with the beginning token. */
  readonly addBos: boolean;
  /** Highest token id + 1; at most the model's vocabulary size. */
  readonly vocabSize: number;
  /** SHA-256 over everything that decides ids and texts (hex). */
  readonly digest: string;
}

const addedToken = z.looseObject({
  id: z.number().int().nonnegative(),
  content: z.string().min(1),
  special: z.boolean().default(false),
});

const merge = z.union([z.string(), z.tuple([z.string(), z.string()])]);

/** The parts of a `tokenizer.json` that are read here; the library reads the rest. */
const tokenizerJson = z.looseObject({
  model: z.looseObject({
    type: z.string().optional(),
    vocab: z.record(z.string(), z.number().int().nonnegative()),
    merges: z.array(merge),
    unk_token: z.string().nullish(),
  }),
  added_tokens: z.array(addedToken).nullish(),
  normalizer: z.unknown().optional(),
  pre_tokenizer: z.unknown().optional(),
  post_processor: z.unknown().optional(),
  decoder: z.unknown().optional(),
});

export type TokenizerJson = z.input<typeof tokenizerJson>;
type ParsedTokenizerJson = z.output<typeof tokenizerJson>;

const tokenName = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();

/** The parts of a `tokenizer_config.json` that are read here. */
const tokenizerSettings = z.looseObject({
  bos_token: tokenName,
  eos_token: tokenName,
  add_bos_token: z.boolean().nullish(),
});

export type TokenizerSettings = z.input<typeof tokenizerSettings>;

/**
 * Opens the tokenizer of a model: `tokenizer.json` (and `tokenizer_config.json`) of a folder, the metadata of a GGUF
 * file, or a `tokenizer.json` beside a GGUF file without such metadata.
 * Throws `TOKENIZER_INVALID`, `MODEL_UNSUPPORTED`, `MODEL_FILE_MISSING`, `MODEL_FILE_DAMAGED`, and
 * `TOKENIZER_MISMATCH` when its ids do not fit the model's vocabulary.
 */
export async function openTokenizer(source: ModelSource, config: ModelConfig): Promise<Tokenizer> {
  if ('folder' in source) return openTokenizerFolder(source.folder, config);
  const { metadata } = await openGguf(source.gguf);
  if (metadata.has('tokenizer.ggml.tokens')) {
    const { json, settings } = tokenizerFromGguf(metadata, source.gguf);
    return createTokenizer(json, settings, config, source.gguf);
  }
  return openTokenizerFolder(dirname(source.gguf), config);
}

async function openTokenizerFolder(folder: string, config: ModelConfig): Promise<Tokenizer> {
  const path = join(folder, 'tokenizer.json');
  const settingsPath = join(folder, 'tokenizer_config.json');
  const json = await readJsonFile(path);
  const settings = (await exists(settingsPath)) ? await readJsonFile(settingsPath) : {};
  return createTokenizer(json, settings, config, path);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Builds a tokenizer from parsed files; `file` names the source in errors. Throws as {@link openTokenizer} does. */
export function createTokenizer(
  json: unknown,
  settings: unknown,
  config: Pick<ModelConfig, 'vocabSize' | 'bosTokenId' | 'eosTokenIds'>,
  file: string,
): Tokenizer {
  const definition = parse(tokenizerJson, json, file);
  const named = parse(tokenizerSettings, settings, file);
  refuseVariants(definition, file);
  checkPatterns([definition.normalizer, definition.pre_tokenizer, definition.decoder], file);
  const vocabulary = new Vocabulary(definition, file);
  if (vocabulary.size > config.vocabSize) {
    throw new SoftflowError(
      'TOKENIZER_MISMATCH',
      `${file} does not match the model. Expected: token ids below ${config.vocabSize}. Received: ids up to ${vocabulary.size - 1}. Use the tokenizer that came with the weights.`,
      { details: { file, expected: config.vocabSize, received: vocabulary.size } },
    );
  }
  const eosTokenId = vocabulary.idOf(named.eos_token) ?? config.eosTokenIds[0];
  if (eosTokenId === undefined) throw invalid(file, 'no end token: neither eos_token nor eos_token_id is given');
  const bosTokenId = vocabulary.idOf(named.bos_token) ?? config.bosTokenId;
  const addBos = bosTokenId !== undefined && (named.add_bos_token ?? templateAddsBos(definition.post_processor));
  const library = createLibraryTokenizer(definition, vocabulary.specialNames, file);
  const identity = JSON.stringify([definition, eosTokenId, bosTokenId ?? null, addBos]);
  return {
    encode: (text) => (text === '' ? [] : typed(file, () => encodePlain(library, text))),
    decode: (ids) => {
      const tokens = vocabulary.plainTokens(ids);
      return tokens.length === 0 ? '' : typed(file, () => library.decoder?.decode(tokens) ?? tokens.join(''));
    },
    eosTokenId,
    ...(bosTokenId !== undefined && { bosTokenId }),
    addBos,
    vocabSize: vocabulary.size,
    digest: createHash('sha256').update(identity).digest('hex'),
  };
}

/** Every token of a definition by id, with the special ones told apart. */
class Vocabulary {
  /** Highest id + 1. */
  readonly size: number;
  readonly specialNames: ReadonlySet<string>;
  readonly #tokens: (string | undefined)[] = [];
  readonly #ids = new Map<string, number>();

  constructor({ model, added_tokens }: ParsedTokenizerJson, file: string) {
    for (const [token, id] of Object.entries(model.vocab)) this.#put(token, id, file);
    for (const { content, id } of added_tokens ?? []) this.#put(content, id, file);
    this.specialNames = new Set((added_tokens ?? []).filter((token) => token.special).map((token) => token.content));
    this.size = this.#tokens.length;
    for (const pair of model.merges) this.#checkMerge(pair, file);
  }

  idOf(name: z.infer<typeof tokenName>): number | undefined {
    const token = typeof name === 'string' ? name : name?.content;
    return token === undefined ? undefined : this.#ids.get(token);
  }

  plainTokens(ids: ArrayLike<number>): string[] {
    return Array.from(ids, (id) => this.#tokens[id]).filter(
      (token): token is string => token !== undefined && !this.specialNames.has(token),
    );
  }

  #put(token: string, id: number, file: string): void {
    if (id >= 2 ** 24) throw invalid(file, `token id ${id} is not below 2^24`);
    const known = this.#tokens[id];
    if (known !== undefined && known !== token) {
      throw invalid(file, `token id ${id} is both ${JSON.stringify(known)} and ${JSON.stringify(token)}`);
    }
    this.#tokens[id] = token;
    this.#ids.set(token, id);
  }

  #checkMerge(pair: z.infer<typeof merge>, file: string): void {
    const parts = typeof pair === 'string' ? pair.split(' ') : pair;
    if (parts.length === 2 && this.#ids.has(parts.join(''))) return;
    throw invalid(file, `the merge ${JSON.stringify(pair)} does not make a token of the vocabulary`);
  }
}

/**
 * The library's tokenizer without the special tokens: neither its search for added tokens nor its merges can then
 * give their ids. The unknown token stays, since the merges fall back to it.
 */
function createLibraryTokenizer(
  definition: ParsedTokenizerJson,
  special: ReadonlySet<string>,
  file: string,
): HuggingFaceTokenizer {
  const { model } = definition;
  const plain = Object.entries(model.vocab).filter(([token]) => !special.has(token) || token === model.unk_token);
  const json = {
    ...definition,
    model: { ...model, vocab: Object.fromEntries(plain) },
    added_tokens: (definition.added_tokens ?? []).filter((token) => !token.special),
    normalizer: definition.normalizer ?? null,
    pre_tokenizer: withoutUnknownBytes(exactPreTokenizer(definition.pre_tokenizer ?? null, file), model),
    post_processor: null,
    decoder: definition.decoder ?? null,
  };
  return typed(file, () => new HuggingFaceTokenizer(json, {}));
}

function encodePlain(library: HuggingFaceTokenizer, text: string): number[] {
  const { ids } = library.encode(text, { add_special_tokens: false });
  if (ids.includes(undefined as never)) throw new TypeError('the unknown token is not in the vocabulary');
  return ids;
}

/** Runs the library, whose errors have no type of their own. */
function typed<T>(file: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw invalid(file, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** The pattern of GPT-2, which the `ByteLevel` step carries. */
const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * The same steps, spelt so that the library splits as the Rust tokenizers do: its own `Digits` knows ASCII digits
 * only, and its `ByteLevel` takes JavaScript's white space for Unicode's.
 */
function exactPreTokenizer(step: unknown, file: string): unknown {
  if (step === null || typeof step !== 'object') return step;
  const { type, ...options } = step as { type?: string } & Record<string, unknown>;
  if (type === 'Sequence' && Array.isArray(options['pretokenizers'])) {
    return { type, pretokenizers: options['pretokenizers'].map((inner) => exactPreTokenizer(inner, file)) };
  }
  if (type === 'Digits') return isolate(options['individual_digits'] === true ? '\\p{N}' : '\\p{N}+');
  if (type === 'ByteLevel' && options['use_regex'] !== false && options['add_prefix_space'] !== true) {
    return { type: 'Sequence', pretokenizers: [isolate(GPT2_PATTERN), { ...step, use_regex: false }] };
  }
  if (type === 'Split' && !['Isolated', 'Removed'].includes(String(options['behavior']))) {
    throw unsupported(file, `the split behaviour ${JSON.stringify(options['behavior'])}`, 'Isolated, Removed');
  }
  return step;
}

/**
 * Drops the bytes that the vocabulary lacks before the merges, not after: their neighbours then merge across the gap,
 * as they do in the Rust tokenizers. SmolLM2, for one, has no symbol for most control characters.
 */
function withoutUnknownBytes(step: unknown, model: ParsedTokenizerJson['model']): unknown {
  const missing = byteSymbols().filter((symbol) => !Object.hasOwn(model.vocab, symbol));
  const falls = model.unk_token != null || model['byte_fallback'] === true || missing.length === 256;
  if (falls || missing.length === 0 || !JSON.stringify(step).includes('"ByteLevel"')) return step;
  const codes = missing.map((symbol) => `\\x{${symbol.codePointAt(0)?.toString(16)}}`);
  const drop = { type: 'Replace', pattern: { Regex: `[${codes.join('')}]` }, content: '' };
  return { type: 'Sequence', pretokenizers: [step, drop] };
}

function isolate(pattern: string): unknown {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
}

/** Whether a post-processor puts a special token before a single text. */
function templateAddsBos(step: unknown): boolean {
  if (step === null || typeof step !== 'object') return false;
  const { type, single, processors } = step as { type?: string; single?: unknown; processors?: unknown };
  if (type === 'Sequence' && Array.isArray(processors)) return processors.some(templateAddsBos);
  return type === 'TemplateProcessing' && Array.isArray(single) && Object.hasOwn(Object(single[0]), 'SpecialToken');
}

function refuseVariants({ model }: ParsedTokenizerJson, file: string): void {
  if ((model.type ?? 'BPE') !== 'BPE') throw unsupported(file, `the tokenizer model ${model.type}`, 'BPE');
}

/** The library only warns about a pattern that it does not know. */
function checkPatterns(step: unknown, file: string): void {
  if (step === null || typeof step !== 'object') return;
  const { type, pattern } = step as { type?: unknown; pattern?: unknown };
  const known = ['Regex', 'String'].some((kind) => typeof Object(pattern)[kind] === 'string');
  if ((type === 'Split' || type === 'Replace') && !known) {
    throw invalid(file, `the pattern of ${type} is ${JSON.stringify(pattern)}, neither Regex nor String`);
  }
  for (const value of Object.values(step)) checkPatterns(value, file);
}

function parse<T extends z.ZodType>(schema: T, value: unknown, file: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.slice(0, 8).map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw invalid(file, faults.join('; '));
}

function invalid(file: string, reason: string, cause?: unknown): SoftflowError {
  return new SoftflowError(
    'TOKENIZER_INVALID',
    `${file} holds no usable tokenizer: ${reason}. Fetch the tokenizer's files again.`,
    { details: { file }, ...(cause !== undefined && { cause }) },
  );
}

function unsupported(file: string, received: string, supported: string): SoftflowError {
  return new SoftflowError(
    'MODEL_UNSUPPORTED',
    `${file} asks for ${received}, which is not supported. Supported: ${supported}. Choose another model.`,
    { details: { file, received, supported } },
  );
}
