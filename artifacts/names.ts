import { SoftflowError } from '../errors.ts';

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const DIGEST = /^[0-9a-f]{64}$/;

/** Names of pointers, runs and record kinds. They become folder names, so nothing else may pass. */
export function requireName(name: string, what = 'name'): string {
  if (!NAME.test(name)) refuse(what, name, 'a lower-case letter or digit, then up to 63 of a-z 0-9 . _ -');
  return name;
}

/** Step keys and blob digests. */
export function requireDigest(digest: string, what = 'step key'): string {
  if (!DIGEST.test(digest)) refuse(what, digest, '64 lower-case hex digits');
  return digest;
}

/** A position such as [epoch, step, microBatch] as it stands in a file name: `2.14.0`. */
export function positionSlot(position: readonly number[]): string {
  const fits = position.length > 0 && position.length <= 8 && position.every((part) => isCount(part));
  if (!fits) refuse('position', JSON.stringify(position), '1 to 8 whole numbers from 0');
  return position.join('.');
}

/** Lexicographic order of positions. */
export function comparePositions(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? -1) - (b[i] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function refuse(what: string, found: string, expected: string): never {
  const shown = JSON.stringify(String(found).slice(0, 80));
  throw new SoftflowError('STORE_NAME_INVALID', `Invalid ${what} ${shown}: expected ${expected}.`, {
    details: { what, found: shown, expected },
  });
}
