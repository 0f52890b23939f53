import * as z from 'zod';
import { SoftflowError } from '../errors.ts';

/** System errors that pass by themselves. */
const TRANSIENT = new Set(['EAGAIN', 'EBUSY', 'ECONNREFUSED', 'ECONNRESET', 'EMFILE', 'ENFILE', 'EPIPE', 'ETIMEDOUT']);

/** The plain form of an error, as it crosses a process border. */
export interface Fault {
  code: string;
  message: string;
  retryable: boolean;
  details: Record<string, unknown>;
}

/** What an error means to whoever has to act: its code, its text, and whether trying again can help. */
export function toFault(error: unknown): Fault {
  if (error instanceof SoftflowError) {
    const { code, message, retryable, details } = error;
    return { code, message, retryable, details };
  }
  if (error instanceof z.ZodError)
    return { code: 'INPUT_INVALID', message: z.prettifyError(error), retryable: false, details: {} };
  const { message, stack, code }: NodeJS.ErrnoException = error instanceof Error ? error : new Error(String(error));
  const retryable = TRANSIENT.has(code ?? '');
  return { code: code ?? 'INTERNAL', message, retryable, details: stack ? { stack } : {} };
}
