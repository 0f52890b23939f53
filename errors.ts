/** What every error of softflow carries, whichever folder raises it. */
export interface SoftflowErrorOptions {
  /** Whether the same call may succeed when tried again with nothing changed. Default false. */
  retryable?: boolean;
  /** The thing that failed, for machines: file, field, expected, received ... Never secrets. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/**
 * The one error class. `code` is stable (`CONFIG_INVALID`, `STORE_DAMAGED`, ...); `message` says what, where,
 * expected and found, and the next step. A leaf module, so that every folder can import it.
 */
export class SoftflowError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;

  constructor(code: string, message: string, options: SoftflowErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SoftflowError';
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }
}
