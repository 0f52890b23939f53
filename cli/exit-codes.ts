import type { Finding } from '../artifacts/verify.ts';
import { SoftflowError } from '../errors.ts';

/** Exit codes of every command; stable, so that scripts may rely on them. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  willNotFit: 3,
  /** A run does not pass the rule by which it would become current. */
  rejected: 4,
  damaged: 10,
  missing: 11,
  unreadable: 12,
  notAStore: 13,
  detached: 130,
} as const;

const BY_CODE: [prefix: string, code: number][] = [
  ['CONFIG_', EXIT.usage],
  ['USAGE', EXIT.usage],
  ['TEMPORAL_CONFIG_INVALID', EXIT.usage],
  ['TEMPORAL_INSECURE', EXIT.usage],
  ['ENCRYPTION_KEYS_INVALID', EXIT.usage],
  ['RUN_NOT_FOUND', EXIT.usage],
  ['RUN_AMBIGUOUS', EXIT.usage],
  ['SCHEDULE_', EXIT.usage],
  ['PART_UNKNOWN', EXIT.usage],
  ['RELEASE_NOT_FOUND', EXIT.usage],
  ['RELEASE_AMBIGUOUS', EXIT.usage],
  ['RECIPE_EXISTS', EXIT.usage],
  ['DATA_NOT_FOUND', EXIT.usage],
  ['DATA_COLUMN_MISSING', EXIT.usage],
  ['INTERRUPTED', EXIT.detached],
  ['WILL_NOT_FIT', EXIT.willNotFit],
  ['STORE_DAMAGED', EXIT.damaged],
  ['STORE_MISSING', EXIT.missing],
  ['STORE_DENIED', EXIT.unreadable],
  ['STORE_IO', EXIT.unreadable],
  ['NOT_A_STORE', EXIT.notAStore],
  ['STORE_VERSION_UNSUPPORTED', EXIT.notAStore],
];

export function exitCodeOf(error: unknown): number {
  const code = error instanceof SoftflowError ? error.code : '';
  return BY_CODE.find(([prefix]) => code.startsWith(prefix))?.[1] ?? EXIT.failed;
}

/** What `store verify` ends with: the first of damaged, missing, unreadable that was found and not repaired. */
export function findingsExitCode(findings: readonly Finding[]): number {
  const kinds = new Set(findings.filter(({ repaired }) => !repaired).map(({ kind }) => kind));
  const worst = (['damaged', 'missing', 'unreadable'] as const).find((kind) => kinds.has(kind));
  return worst ? EXIT[worst] : EXIT.ok;
}
