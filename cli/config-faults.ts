import type * as z from 'zod';
import { suggest } from '../client/suggest.ts';
import {
  type ConfigPath,
  configJsonSchema,
  type JsonSchema,
  knownKeys,
  pathsEndingIn,
  schemaAt,
  variantKeys,
} from './config-schema.ts';
import { namesSecret } from './config-secrets.ts';

/** One thing wrong with a config: where in it, and what to do about it. */
export interface Fault {
  path: ConfigPath;
  message: string;
  /** True when the fault is the key itself, not its value. */
  atKey?: boolean;
}

type Issue = z.core.$ZodIssue;

/** Readable faults for what the schema refused; `input` is the config as written. */
export function faultsOf(issues: readonly Issue[], input: unknown, prefix: ConfigPath = []): Fault[] {
  return issues.flatMap((issue) => issueFaults(issue, input, prefix));
}

function issueFaults(issue: Issue, input: unknown, prefix: ConfigPath): Fault[] {
  const path = [...prefix, ...issue.path.map((key) => (typeof key === 'number' ? key : String(key)))];
  const schema = schemaAt(path);
  const value = valueAt(input, path);
  if (schema?.anyOf && (issue.code === 'invalid_union' || issue.code === 'unrecognized_keys'))
    return unionFaults(issue, schema, path, value, input);
  if (issue.code === 'unrecognized_keys') return unknownKeys(issue.keys, path, schema);
  if (issue.code === 'custom') return [{ path, message: issue.message }];
  // A secret that stands where a variable's name belongs has its own fault, which leaves the value out.
  if (namesSecret(path) && typeof value === 'string') return [];
  return [{ path, message: expectedGot(schema, issue, value) }];
}

/** Says which kinds are possible; once one kind is chosen, only that kind's own faults count. */
function unionFaults(issue: Issue, schema: JsonSchema, path: ConfigPath, value: unknown, input: unknown): Fault[] {
  const kinds = variantKeys(schema);
  const expected = `expected a mapping with exactly one of ${list(kinds)}`;
  if (!isMapping(value)) return [{ path, message: `${expected}, ${got(value)}` }];
  const present = kinds.filter((kind) => Object.hasOwn(value, kind));
  if (present.length > 1) return [{ path, message: `${expected}, got ${present.join(' and ')}` }];
  const chosen = kinds.indexOf(present[0] ?? '');
  if (chosen < 0) {
    const keys = Object.keys(value);
    const meant = keys.map((key) => suggest(key, kinds)).find((kind) => kind !== undefined);
    const hint = meant ? `; did you mean ${quote(meant)}?` : '';
    return [{ path, message: `${expected}, got ${keys.length ? list(keys.map(clip)) : 'none of them'}${hint}` }];
  }
  if (issue.code === 'unrecognized_keys') return unknownKeys(issue.keys, path, schema.anyOf?.[chosen]);
  return issue.code === 'invalid_union' ? faultsOf(issue.errors[chosen] ?? [], input, path) : [];
}

function unknownKeys(keys: readonly string[], path: ConfigPath, schema: JsonSchema | undefined): Fault[] {
  const known = knownKeys(schema ?? configJsonSchema());
  return keys.map((key) => {
    const near = suggest(key, known);
    const elsewhere = pathsEndingIn(key)[0];
    const dotted = key.includes('.') && schemaAt([...path, ...key.split('.')]);
    const hint = dotted
      ? `; write it nested: ${key.split('.').join(': {')}: ...${'}'.repeat(key.split('.').length - 1)}`
      : near
        ? `, did you mean ${quote(near)}?`
        : elsewhere
          ? `; it belongs at ${elsewhere}`
          : `; known here: ${known.join(', ')}`;
    return { path: [...path, key], message: `unknown key${hint}`, atKey: true };
  });
}

function expectedGot(schema: JsonSchema | undefined, issue: Issue, value: unknown): string {
  const expected = schema ? expectation(schema) : issue.message;
  if (value === undefined) return `missing; expected ${expected}`;
  if (value === null) return `expected ${expected}, got nothing; give a value or remove the key`;
  const choices = schema?.enum?.filter((choice) => typeof choice === 'string') ?? constants(schema);
  const near = typeof value === 'string' ? suggest(value, choices) : undefined;
  const quoted = schema?.type === 'string' && typeof value === 'number' ? '; put quotes around it' : '';
  return `expected ${expected}, ${got(value)}${near ? `, did you mean ${quote(near)}?` : quoted}`;
}

const constants = (schema: JsonSchema | undefined): string[] =>
  typeof schema?.const === 'string' ? [schema.const] : [];

/** What a schema asks for, in words. */
export function expectation(schema: JsonSchema): string {
  if (schema.const !== undefined) return quote(schema.const);
  if (schema.enum) return `one of ${list(schema.enum.map(quote))}`;
  const types = [schema.type ?? []].flat();
  const nullable = types.includes('null') ? ', or null' : '';
  if (types.includes('integer') || types.includes('number'))
    return `a ${types.includes('integer') ? 'whole number' : 'number'}${range(schema)}${nullable}`;
  if (types.includes('boolean')) return `true or false${nullable}`;
  if (types.includes('array')) {
    const least = schema.minItems ? ` of at least ${schema.minItems}` : '';
    return `a list${least}${schema.items ? `; each ${expectation(schema.items)}` : ''}`;
  }
  if (schema.anyOf) return `a mapping with exactly one of ${list(variantKeys(schema))}`;
  if (types.includes('object')) return `a mapping of ${list(knownKeys(schema))}`;
  return `text${schema.pattern ? ` matching ${schema.pattern}` : ''}${nullable}`;
}

function range(schema: JsonSchema): string {
  const max = schema.maximum === Number.MAX_SAFE_INTEGER ? undefined : schema.maximum;
  const min = schema.minimum === Number.MIN_SAFE_INTEGER ? undefined : schema.minimum;
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` of ${min} or more`;
  if (schema.exclusiveMinimum !== undefined) return ` above ${schema.exclusiveMinimum}`;
  return max === undefined ? '' : ` of ${max} or less`;
}

export function valueAt(input: unknown, path: ConfigPath): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string | number, unknown>)[key];
  }
  return value;
}

export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function got(value: unknown): string {
  if (value === undefined) return 'got nothing';
  if (value === null) return 'got null';
  if (Array.isArray(value)) return `got a list of ${value.length}`;
  if (isMapping(value)) return `got a mapping of ${list(Object.keys(value).map(clip))}`;
  return `got ${quote(value)}`;
}

const quote = (value: unknown): string => clip(typeof value === 'number' ? String(value) : JSON.stringify(value));
const clip = (text: string): string => (text.length > 80 ? `${text.slice(0, 79)}…` : text);
const list = (words: readonly string[]): string =>
  words.length > 12 ? `${words.slice(0, 12).join(', ')}, …` : words.join(', ');
