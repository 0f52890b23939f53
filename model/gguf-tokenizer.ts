import { SoftflowError } from '../errors.ts';
import type { GgufMetadata } from './gguf.ts';
import type { TokenizerJson, TokenizerSettings } from './tokenizer.ts';

/** How text is cut before the merges, by the file's `tokenizer.ggml.pre`. */
interface PreTokenizerRule {
  /** Steps before the bytes become symbols. */
  steps: unknown[];
  /** Whether the byte step also cuts by GPT-2's pattern. */
  gpt2Pattern: boolean;
  normalizer?: unknown;
  /** A piece that is a token as a whole is not merged step by step. */
  ignoreMerges?: boolean;
  addBos?: boolean;
}

function llama3Pattern(digits: string): string {
  return `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
}

function split(pattern: string): unknown {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
}

const GPT2: PreTokenizerRule = { steps: [], gpt2Pattern: true };
const LLAMA3: PreTokenizerRule = {
  steps: [split(llama3Pattern('\\p{N}{1,3}'))],
  gpt2Pattern: false,
  ignoreMerges: true,
  addBos: true,
};

const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizerRule>> = {
  default: GPT2,
  'gpt-2': GPT2,
  smollm: { steps: [{ type: 'Digits', individual_digits: true }], gpt2Pattern: true },
  'llama-bpe': LLAMA3,
  llama3: LLAMA3,
  'llama-v3': LLAMA3,
  qwen2: { steps: [split(llama3Pattern('\\p{N}'))], gpt2Pattern: false, normalizer: { type: 'NFC' } },
};

// Token types of GGUF; 6 is a byte.
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;

export interface RebuiltTokenizer {
  json: TokenizerJson;
  settings: TokenizerSettings;
}

/**
 * Rebuilds `tokenizer.json` and its settings from GGUF metadata: byte-level BPE (`gpt2`) or SentencePiece BPE
 * (`llama`). `file` names the source in errors.
 * Throws `TOKENIZER_INVALID` and, for other kinds of tokenizer, `MODEL_UNSUPPORTED`.
 */
export function tokenizerFromGguf(metadata: GgufMetadata, file: string): RebuiltTokenizer {
  const model = metadata.get('tokenizer.ggml.model');
  if (model === 'gpt2') return byteLevelTokenizer(metadata, file);
  if (model === 'llama') return sentencePieceTokenizer(metadata, file);
  throw unsupported(file, `the tokenizer model ${JSON.stringify(model ?? null)}`, '"gpt2", "llama"');
}

function byteLevelTokenizer(metadata: GgufMetadata, file: string): RebuiltTokenizer {
  const pre = metadata.get('tokenizer.ggml.pre') ?? 'default';
  if (typeof pre !== 'string' || !Object.hasOwn(PRE_TOKENIZERS, pre)) {
    throw unsupported(file, `the pre-tokenizer ${JSON.stringify(pre)}`, Object.keys(PRE_TOKENIZERS).join(', '));
  }
  const rule = PRE_TOKENIZERS[pre] as PreTokenizerRule;
  const tokens = texts(metadata, 'tokenizer.ggml.tokens', file);
  const types = tokenTypes(metadata, tokens, file);
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: rule.gpt2Pattern };
  return {
    json: {
      version: '1.0',
      added_tokens: addedTokens(tokens, types),
      normalizer: rule.normalizer ?? null,
      pre_tokenizer: { type: 'Sequence', pretokenizers: [...rule.steps, bytes] },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: true },
      model: {
        type: 'BPE',
        unk_token: null,
        ignore_merges: rule.ignoreMerges ?? false,
        vocab: vocabulary(tokens),
        merges: texts(metadata, 'tokenizer.ggml.merges', file),
      },
    },
    settings: namedTokens(metadata, tokens, rule.addBos ?? false),
  };
}

/** What SentencePiece writes for a space. */
const SPACE = '\u2581';

/** SentencePiece joins the pair with the best score first, which is what merges sorted by score do. */
function sentencePieceTokenizer(metadata: GgufMetadata, file: string): RebuiltTokenizer {
  const tokens = texts(metadata, 'tokenizer.ggml.tokens', file);
  const types = tokenTypes(metadata, tokens, file);
  const scores = numbers(metadata, 'tokenizer.ggml.scores', tokens.length, file);
  const prefix = metadata.get('tokenizer.ggml.add_space_prefix') !== false;
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const unknown = metadata.get('tokenizer.ggml.unknown_token_id') ?? types.indexOf(UNKNOWN);
  return {
    json: {
      version: '1.0',
      added_tokens: addedTokens(tokens, types),
      normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, spaces] } : spaces,
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        unk_token: tokens[Number(unknown)] ?? null,
        fuse_unk: true,
        byte_fallback: true,
        vocab: vocabulary(tokens),
        merges: mergesFromScores(tokens, types, scores),
      },
    },
    settings: namedTokens(metadata, tokens, true),
  };
}

/** Every way to make a normal token of two others, best score first. */
function mergesFromScores(tokens: string[], types: readonly number[], scores: number[]): [string, string][] {
  const ids = new Map(tokens.flatMap((token, id) => (isText(types[id]) ? [[token, id]] : [])) as [string, number][]);
  const merges: { pair: [string, string]; score: number }[] = [];
  for (const [token, id] of ids) {
    for (let at = 1; at < token.length; at++) {
      const pair: [string, string] = [token.slice(0, at), token.slice(at)];
      if (ids.has(pair[0]) && ids.has(pair[1])) merges.push({ pair, score: scores[id] as number });
    }
  }
  return merges.sort((a, b) => b.score - a.score || b.pair[0].length - a.pair[0].length).map(({ pair }) => pair);
}

function isText(type: number | undefined): boolean {
  return type === undefined || type === NORMAL || type === USER_DEFINED;
}

function vocabulary(tokens: string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((content, id) => [content, id]));
}

function addedTokens(tokens: string[], types: readonly number[]) {
  return tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL || types[id] === UNKNOWN || types[id] === UNUSED;
    if (!special && types[id] !== USER_DEFINED) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

function namedTokens(metadata: GgufMetadata, tokens: string[], addBos: boolean): TokenizerSettings {
  const token = (key: string) => {
    const id = metadata.get(`tokenizer.ggml.${key}`);
    return typeof id === 'number' ? tokens[id] : undefined;
  };
  return {
    bos_token: token('bos_token_id'),
    eos_token: token('eos_token_id'),
    add_bos_token: (metadata.get('tokenizer.ggml.add_bos_token') ?? addBos) === true,
  };
}

function texts(metadata: GgufMetadata, key: string, file: string): string[] {
  const value = metadata.get(key);
  const valid = Array.isArray(value) && value.every((text) => typeof text === 'string');
  if (!valid) throw invalid(file, key, 'a list of texts', describe(value));
  return value as string[];
}

function numbers(metadata: GgufMetadata, key: string, length: number, file: string): number[] {
  const value = metadata.get(key);
  const valid = Array.isArray(value) && value.length === length && value.every((number) => Number.isFinite(number));
  if (!valid) throw invalid(file, key, `${length} numbers`, describe(value));
  return value as number[];
}

/** One type for each token, or none at all: then every token is a normal one. */
function tokenTypes(metadata: GgufMetadata, tokens: string[], file: string): readonly number[] {
  const key = 'tokenizer.ggml.token_type';
  return metadata.has(key) ? numbers(metadata, key, tokens.length, file) : [];
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return value === undefined ? 'nothing' : String(value);
}

function invalid(file: string, key: string, expected: string, received: string): SoftflowError {
  return new SoftflowError(
    'TOKENIZER_INVALID',
    `${file} holds no usable tokenizer: ${key}. Expected: ${expected}. Received: ${received}. Fetch the file again.`,
    { details: { file, key } },
  );
}

function unsupported(file: string, received: string, supported: string): SoftflowError {
  return new SoftflowError(
    'MODEL_UNSUPPORTED',
    `${file} has ${received}. Supported: ${supported}. Use the model's Hugging Face folder with its tokenizer.json.`,
    { details: { file, received, supported } },
  );
}
