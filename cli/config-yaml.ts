import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type YAMLError,
} from 'yaml';
import { isMapping } from './config-faults.ts';
import type { ConfigPath } from './config-schema.ts';

/** Far above any recipe; below what a parser could be tortured with. */
export const MAX_CONFIG_BYTES = 1024 * 1024;
const MAX_DEPTH = 32;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

export interface YamlFault {
  /** Offset in the text, in UTF-16 units. */
  offset: number;
  message: string;
}
export interface YamlSource {
  value: unknown;
  faults: YamlFault[];
  /** `line:column`, both from 1. */
  linePlace(offset: number): string;
  /** Offset of a key (`atKey`) or of its value; for a path that is not there, of the nearest key above it. */
  offsetOf(path: ConfigPath, atKey?: boolean): number;
}

/**
 * Reads one YAML document as plain data. Anchors, aliases, tags, keys that are not text, more than one document and
 * deep nesting are faults: a recipe needs none of them, and each is a way to make a small file expensive or deceptive.
 */
export function readYaml(text: string): YamlSource {
  const lineCounter = new LineCounter();
  const linePlace = (offset: number): string => {
    const { line, col } = lineCounter.linePos(offset);
    return `${Math.max(line, 1)}:${Math.max(col, 1)}`;
  };
  let document: Document.Parsed;
  try {
    document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error', merge: false });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { value: undefined, faults: [tooDeep(0)], linePlace, offsetOf: () => 0 };
  }
  const faults = syntaxFaults([...document.errors, ...document.warnings], (offset) => lineCounter.linePos(offset).line);
  faults.push(...forbiddenParts(document, faults.length === 0));
  const value = faults.length ? undefined : document.toJS();
  const offsetOf = (path: ConfigPath, atKey = false) => nodeOffset(document.contents, path, atKey);
  return { value, faults, linePlace, offsetOf };
}

const tooDeep = (offset: number): YamlFault => ({ offset, message: `nested deeper than ${MAX_DEPTH} levels` });

const NOT_YAML = 'not valid YAML: ';

/** Of what is no YAML, one a line; once the parser has lost its way, nothing that it says of the rest. */
function syntaxFaults(errors: readonly YAMLError[], lineOf: (offset: number) => number): YamlFault[] {
  const lines = new Set<number>();
  return errors.flatMap(({ code, message, pos: [offset] }) => {
    const fault = { offset, message: syntaxMessage(code, message) };
    if (!fault.message.startsWith(NOT_YAML)) return [fault];
    const follows = lines.size > 0 && (lines.has(lineOf(offset)) || message.includes('in YAML stream'));
    lines.add(lineOf(offset));
    return follows ? [] : [fault];
  });
}

function syntaxMessage(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'this key is written twice; keep one';
  if (code === 'MULTIPLE_DOCS') return 'expected one YAML document, got a second one after `---`';
  if (code === 'TAB_AS_INDENT') return 'indent with spaces, not with tabs';
  if (code === 'TAG_RESOLVE_FAILED') return 'tags (`!name`) are not allowed in a recipe';
  const quotes = message.startsWith('Unexpected flow-') ? '; text with { } [ ] in it needs quotes around it' : '';
  return `${NOT_YAML}${message}${quotes}`;
}

/** `withTags`: also report tags, which the parser itself reports only when it does not know them. */
function forbiddenParts(document: Document.Parsed, withTags: boolean): YamlFault[] {
  const faults: YamlFault[] = [];
  visit(document, (_key, node, path) => {
    if (isPair(node)) {
      const key = node.key;
      const offset = isNode(key) ? (key.range?.[0] ?? 0) : 0;
      if (!isScalar(key)) faults.push({ offset, message: 'expected a key of plain text' });
      else if (FORBIDDEN_KEYS.has(String(key.value)))
        faults.push({ offset, message: `the key ${key.value} is not allowed` });
      return undefined;
    }
    if (!isNode(node)) return undefined;
    const offset = node.range?.[0] ?? 0;
    if (isAlias(node) || node.anchor)
      faults.push({ offset, message: 'anchors and aliases (`&a`, `*a`) are not allowed in a recipe' });
    else if (node.tag && withTags) faults.push({ offset, message: 'tags (`!name`) are not allowed in a recipe' });
    if (path.filter((parent) => isMap(parent) || isSeq(parent)).length < MAX_DEPTH) return undefined;
    faults.push(tooDeep(offset));
    return visit.BREAK;
  });
  return faults;
}

function nodeOffset(root: unknown, path: ConfigPath, atKey: boolean): number {
  let node = root;
  let offset = 0;
  for (const [depth, key] of path.entries()) {
    const last = depth === path.length - 1;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
      if (!pair) return offset;
      const keyOffset = isNode(pair.key) ? (pair.key.range?.[0] ?? offset) : offset;
      const scalar = isScalar(pair.value) && pair.value.value !== null;
      offset = last && !atKey && scalar ? ((pair.value as { range?: [number] }).range?.[0] ?? keyOffset) : keyOffset;
      node = pair.value;
    } else if (isSeq(node) && typeof key === 'number') {
      const item = node.items[key];
      if (!isNode(item)) return offset;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else return offset;
  }
  return offset;
}

/** A deep copy of plain data with no prototype in reach of a key of the input. */
export function clonePlain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clonePlain);
  if (!isMapping(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, clonePlain(child)]));
}
