import { userInfo } from 'node:os';
import { dirname, join, relative } from 'node:path';
import type { AuditRow } from '../../artifacts/decisions.ts';
import type { ListedRelease, Releases } from '../../client/releases.ts';
import { align } from '../../report/format.ts';
import type { PromotionOutcome } from '../../workflows/promotion-state.ts';
import { EXIT } from '../exit-codes.ts';
import { hasStore, openSession, openStoredRuns, type Session } from '../session.ts';
import { oneLine, type Terminal } from '../terminal.ts';

export interface PromoteOptions {
  reason?: string;
  force?: boolean;
  json?: boolean;
}

export interface RollbackOptions {
  to?: string;
  reason?: string;
  json?: boolean;
}

export interface ReleasesOptions {
  audit?: boolean;
  json?: boolean;
}

/** Characters of a release's key that tell it from others. */
const SHORT = 12;
const REASON_WIDTH = 120;

/** Makes a finished run current; without --force only if it passes the rule, which may need the champion to be tested. */
export async function promote(name: string, options: PromoteOptions, terminal: Terminal): Promise<number> {
  const runId = await (await openStoredRuns()).runs.find(name);
  const { force = false, reason = '' } = options;
  return withSession(force ? 'if running' : 'start', async ({ releases }) => {
    const outcome = await (await releases()).promote(runId, { by: whoAmI(), reason, force });
    if (options.json) terminal.out(JSON.stringify(outcome, null, 2));
    else printOutcome(outcome, terminal);
    return outcome.decision === 'promoted' || outcome.release === outcome.champion ? EXIT.ok : EXIT.rejected;
  });
}

function printOutcome(outcome: PromotionOutcome, terminal: Terminal): void {
  const { decision, runId, release, champion, number, why, viewFault } = outcome;
  const reason = oneLine(why, 500);
  if (decision === 'promoted') terminal.out(`${runId} is current now, number ${number}: ${reason}`);
  else if (release === champion) terminal.out(`${runId}: ${reason}.`);
  else {
    terminal.err(`${runId} ${decision}: ${reason}`);
    terminal.err(`To promote it all the same: softflow promote ${runId} --force --reason "..."`);
  }
  if (viewFault) terminal.err(`The folder for servers is not up to date: ${oneLine(viewFault, 500)}`);
}

export async function reject(
  name: string,
  { reason, json }: { reason: string; json?: boolean },
  terminal: Terminal,
): Promise<number> {
  return withSession('if running', async ({ runs, releases }) => {
    const runId = await runs.find(name);
    await (await releases()).reject(runId, { by: whoAmI(), reason });
    const outcome = { runId, decision: 'rejected', why: reason };
    terminal.out(json ? JSON.stringify(outcome, null, 2) : `${runId} is rejected; what is current stays.`);
    return EXIT.ok;
  });
}

export async function rollback(options: RollbackOptions, terminal: Terminal): Promise<number> {
  const { to, reason = '', json } = options;
  const releases = await storedReleases();
  const move = await releases.rollback({ by: whoAmI(), reason, ...(to === undefined ? {} : { to }) });
  if (json) terminal.out(JSON.stringify(move, null, 2));
  else {
    const [now, before] = [move.release, move.from ?? ''].map((key) => key.slice(0, SHORT));
    terminal.out(`${move.runId ?? 'release'} (${now}) is current again, number ${move.number}; it was ${before}.`);
  }
  return EXIT.ok;
}

/** Releases as the store alone knows them: going back must not wait for a server. */
async function storedReleases(): Promise<Releases> {
  const [{ Releases }, { store }] = await Promise.all([import('../../client/releases.ts'), openStoredRuns()]);
  return new Releases({ store });
}

export async function releases({ audit, json }: ReleasesOptions, terminal: Terminal): Promise<number> {
  if (!hasStore()) {
    terminal.out(json ? '[]' : NONE);
    return EXIT.ok;
  }
  const stored = await storedReleases();
  const rows = audit ? await stored.audit() : await stored.list();
  if (json) terminal.out(JSON.stringify(rows, null, 2));
  else if (rows.length === 0) terminal.out(NONE);
  else
    for (const line of align(rows.map((row) => ('what' in row ? auditCells(row) : listCells(row))))) terminal.out(line);
  const view = await stored.writeView();
  if (view !== undefined && !json && !audit)
    terminal.out(`Servers read ${join(relative(process.cwd(), dirname(view)), 'current')}`);
  return EXIT.ok;
}

const NONE = 'No releases yet: a run has one when it has reached its end. Next: softflow promote latest';

function listCells({ runId, release, createdAt, current, numbers, decision }: ListedRelease): string[] {
  const said = decision ? `${decision.decision}: ${oneLine(decision.reason, REASON_WIDTH)}` : '';
  const served = numbers.length > 0 ? `number ${numbers.join(', ')}` : '';
  return [current ? '*' : ' ', runId, release.slice(0, SHORT), minute(createdAt), served, said];
}

function auditCells({ at, what, number, runId, to, by, reason }: AuditRow): string[] {
  const place = number === null ? '' : `-> ${(to ?? '').slice(0, SHORT)}, number ${number}`;
  return [minute(at), what, runId ?? '', place, `by ${oneLine(by, 40)}`, oneLine(reason, REASON_WIDTH)];
}

/** `2026-11-25 03:00`, UTC. */
const minute = (at: string): string => at.slice(0, 16).replace('T', ' ');

async function withSession(
  server: 'start' | 'if running',
  work: (session: Session) => Promise<number>,
): Promise<number> {
  const session = await openSession({ server });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

/** The person at this machine; some containers have a number and no name. */
function whoAmI(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
