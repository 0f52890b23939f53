import { SoftflowError } from '../errors.ts';

/** Exit codes of every command; stable, so that scripts may rely on them. */
export const EXIT = { ok: 0, failed: 1, usage: 2, willNotFit: 3, detached: 130 } as const;

const BY_CODE: [prefix: string, code: number][] = [
  ['CONFIG_', EXIT.usage],
  ['USAGE', EXIT.usage],
  ['TEMPORAL_CONFIG_INVALID', EXIT.usage],
  ['TEMPORAL_INSECURE', EXIT.usage],
  ['RUN_NOT_FOUND', EXIT.usage],
  ['WILL_NOT_FIT', EXIT.willNotFit],
];

export function exitCodeOf(error: unknown): number {
  const code = error instanceof SoftflowError ? error.code : '';
  return BY_CODE.find(([prefix]) => code.startsWith(prefix))?.[1] ?? EXIT.failed;
}
