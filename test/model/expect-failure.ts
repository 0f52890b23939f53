import { expect } from 'vitest';
import { SoftflowError } from '../../errors.ts';

/** Asserts that `run` fails with a {@link SoftflowError} of this code whose text matches. */
export async function expectFailure(run: () => unknown, code: string, message: RegExp): Promise<void> {
  const error = await Promise.resolve()
    .then(run)
    .then(
      () => undefined,
      (reason: unknown) => reason,
    );
  expect(error).toBeInstanceOf(SoftflowError);
  expect((error as SoftflowError).message).toMatch(message);
  expect((error as SoftflowError).code).toBe(code);
  expect((error as SoftflowError).retryable).toBe(false);
}
