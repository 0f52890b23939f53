import { readFileSync, statSync } from 'node:fs';
import { SoftflowError } from '../errors.ts';

/** A key of AES-256 and the name under which payloads refer to it. */
export interface EncryptionKey {
  id: string;
  bytes: Uint8Array;
}

/**
 * `<id>=<reference>`, several with commas between: `2026-11=file:/etc/softflow/2026-11.key,2026-05=env:OLD_KEY`. The first
 * encrypts; all decrypt. A reference is `env:NAME` or `file:/path`, never the key itself.
 */
export const KEYS_VARIABLE = 'SOFTFLOW_ENCRYPTION_KEYS';
export const KEY_BYTES = 32;

/** Shorter than any key, so that a key that stands where an id should is not taken for one and shown. */
const ID = /^[A-Za-z0-9._-]{1,32}$/;
const HEX = /^[0-9a-f]{64}$/i;
const BASE64 = /^[A-Za-z0-9+/]{43}=$/;
const MAX_FILE_BYTES = 1024;

type Environment = Record<string, string | undefined>;

/**
 * The keys that the environment names; none where payloads are not encrypted. No error shows a key, nor what stands
 * where a reference should.
 *
 * @throws SoftflowError `ENCRYPTION_KEYS_INVALID`
 */
export function encryptionKeys(env: Environment = process.env): EncryptionKey[] {
  const list = env[KEYS_VARIABLE]?.trim();
  if (!list) return [];
  const keys = list.split(',').map((entry, i) => readEntry(entry.trim(), i + 1, env));
  const ids = keys.map(({ id }) => id);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw invalid(`key id "${twice}" stands there twice; each key has an id of its own`);
  return keys;
}

function readEntry(entry: string, place: number, env: Environment): EncryptionKey {
  const equals = entry.indexOf('=');
  const id = entry.slice(0, equals);
  if (equals < 1 || !ID.test(id))
    throw invalid(
      `entry ${place} is not <id>=env:NAME or <id>=file:/path, with an id of at most 32 letters, digits, dots, dashes and underscores`,
    );
  return { id, bytes: decodeKey(id, readReference(id, entry.slice(equals + 1), env)) };
}

function readReference(id: string, reference: string, env: Environment): string {
  const [, kind, name = ''] = /^(env|file):(.+)$/.exec(reference) ?? [];
  if (kind === 'file') return readKeyFile(id, name);
  if (kind !== 'env')
    throw invalid(
      `key "${id}": expected env:NAME or file:/path, got something else (not shown, it may be the key itself)`,
    );
  const value = env[name];
  if (value === undefined || value === '') throw invalid(`key "${id}": the variable that env: names is not set`);
  return value;
}

function readKeyFile(id: string, path: string): string {
  try {
    const status = statSync(path);
    if (!status.isFile() || status.size > MAX_FILE_BYTES) throw new Error('it is no file of at most 1 KiB');
    if ((status.mode & 0o077) !== 0)
      throw new Error(`others may read it (mode ${(status.mode & 0o777).toString(8)}); give it mode 600`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`key "${id}": ${path} cannot be used: ${(error as Error).message}`);
  }
}

function decodeKey(id: string, text: string): Uint8Array {
  const key = text.trim();
  if (HEX.test(key)) return Buffer.from(key, 'hex');
  if (BASE64.test(key)) return Buffer.from(key, 'base64');
  throw invalid(
    `key "${id}": expected ${KEY_BYTES} bytes as base64 (44 characters) or hexadecimal (64), got ${key.length} characters`,
  );
}

function invalid(reason: string): SoftflowError {
  return new SoftflowError(
    'ENCRYPTION_KEYS_INVALID',
    `${KEYS_VARIABLE}: ${reason}. A new key: head -c ${KEY_BYTES} /dev/urandom | base64 > key && chmod 600 key`,
  );
}
