import { SoftflowError } from '../errors.ts';
import { errorCode } from './file-system.ts';

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const DENIED = new Set(['EACCES', 'EPERM', 'EROFS']);

/**
 * Turns an error of a file operation into a typed one that names the path and the bytes that were to be written.
 *
 * `STORE_FULL` and `STORE_DENIED` are not retryable, because trying again changes nothing until a person has acted;
 * `STORE_IO` is.
 */
export function storeError(cause: unknown, action: string, path: string, bytesNeeded?: number): SoftflowError {
  if (cause instanceof SoftflowError) return cause;
  const code = errorCode(cause);
  const needed = bytesNeeded === undefined ? '' : ` (${bytesNeeded} bytes needed)`;
  const details = { path, errno: code, ...(bytesNeeded === undefined ? {} : { bytesNeeded }) };
  if (FULL.has(code)) {
    const message = `No space left to ${action} ${path}${needed}: ${code}. Free space or move the store, then resume.`;
    return new SoftflowError('STORE_FULL', message, { details, cause });
  }
  if (DENIED.has(code)) {
    const message = `Not allowed to ${action} ${path}${needed}: ${code}. Give this user access to it, then resume.`;
    return new SoftflowError('STORE_DENIED', message, { details, cause });
  }
  const reason = code || (cause instanceof Error ? cause.message : String(cause));
  const message = `Could not ${action} ${path}${needed}: ${reason}. Check the disk; the operation can be retried.`;
  return new SoftflowError('STORE_IO', message, { retryable: true, details, cause });
}

/** Runs one file operation; whatever it throws comes out typed. */
export async function guarded<T>(
  action: string,
  path: string,
  operation: () => Promise<T>,
  bytesNeeded?: number,
): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw storeError(error, action, path, bytesNeeded);
  }
}

/** As `guarded`, but undefined when the operation fails with one of `codes`. */
export async function guardedUnless<T>(
  codes: string[],
  action: string,
  path: string,
  operation: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await operation();
  } catch (error) {
    if (codes.includes(errorCode(error))) return undefined;
    throw storeError(error, action, path);
  }
}

/** The error of two results where there should be one. */
export function determinismBroken(stepKey: string, place: string, first: string, second: string): SoftflowError {
  return new SoftflowError(
    'DETERMINISM_BROKEN',
    `Step ${stepKey}, ${place}: two results under one fingerprint, expected SHA-256 ${first}, found ${second}. ` +
      'Both are kept. Run `softflow doctor` on the machines that took part; one of them does not compute the same bytes.',
    { details: { stepKey, place, first, second } },
  );
}
