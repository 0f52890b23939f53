import { createHash } from 'node:crypto';
import canonicalizeModule from 'canonicalize';
import { SoftflowError } from '../errors.ts';

// The package is CommonJS with ESM-style types: what is imported is the function itself.
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;

/**
 * JSON with one spelling only (RFC 8785): sorted keys, shortest numbers, no spaces.
 *
 * @throws SoftflowError `CANONICAL_JSON_INVALID` for whatever JSON would drop or change in silence: undefined, NaN,
 * infinities, functions, dates, maps, byte arrays, lone surrogates.
 */
export function canonicalJson(value: unknown): string {
  requireJson(value, '$');
  return canonicalize(value) as string;
}

/** SHA-256 of the value's canonical JSON. */
export function digestOf(value: unknown): string {
  return sha256Hex(Buffer.from(canonicalJson(value)));
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function requireJson(value: unknown, path: string): void {
  if (value === null || typeof value === 'boolean') return;
  if (typeof value === 'string') requireWellFormed(value, path);
  else if (typeof value === 'number') requireFinite(value, path);
  else if (Array.isArray(value)) requireItems(value, path);
  else if (isPlainObject(value)) requireFields(value, path);
  else refuse(path, describe(value));
}

function requireItems(items: unknown[], path: string): void {
  // Spread, because a hole is skipped by everything but an iterator.
  for (const [index, item] of [...items].entries()) requireJson(item, `${path}[${index}]`);
}

function requireFields(fields: Record<string, unknown>, path: string): void {
  for (const [key, item] of Object.entries(fields)) {
    requireWellFormed(key, path);
    requireJson(item, `${path}.${key}`);
  }
}

function requireFinite(value: number, path: string): void {
  if (!Number.isFinite(value)) refuse(path, String(value));
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Object.prototype of another realm (a test runner's sandbox) has no prototype of its own either.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function requireWellFormed(text: string, path: string): void {
  if (/\p{Surrogate}/u.test(text)) refuse(path, 'a string with half of a surrogate pair');
}

function describe(value: unknown): string {
  return typeof value === 'object' ? `an instance of ${value?.constructor.name}` : typeof value;
}

function refuse(path: string, found: string): never {
  throw new SoftflowError(
    'CANONICAL_JSON_INVALID',
    `${path}: expected a JSON value (finite number, string, boolean, null, array or plain object), found ${found}. ` +
      'Leave the field out or convert it before it is stored.',
    { details: { path, found } },
  );
}
