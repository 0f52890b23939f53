import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { collectGarbage, type GarbageReport } from '../../artifacts/gc.ts';
import { releasesFolder } from '../../artifacts/release-view.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { type Finding, type VerifyReport, verifyStore } from '../../artifacts/verify.ts';
import { type ForgetUserReport, forgetUser } from '../../client/forget-user.ts';
import { expiredSteps } from '../../client/retention.ts';
import { countPersonRows, hasPersons } from '../../datasets/person-rows.ts';
import { SoftflowError } from '../../errors.ts';
import { durationMs } from '../../workflows/duration.ts';
import { EXIT, findingsExitCode } from '../exit-codes.ts';
import { forgetLines } from '../forget-view.ts';
import { formatBytes } from '../format.ts';
import { RUNS_FOLDER, STORE_FOLDER } from '../session.ts';
import { oneLine, type Terminal } from '../terminal.ts';

interface StoreOptions {
  store?: string;
  json?: boolean;
}

export interface VerifyCommandOptions extends StoreOptions {
  readData?: boolean;
  /** `n/t`. */
  subset?: string;
}

/** Checks the store and changes nothing; the exit code says what was found. */
export async function verify(options: VerifyCommandOptions, terminal: Terminal): Promise<number> {
  const subset = options.subset === undefined ? undefined : parseSubset(options.subset);
  const store = await openStore(options.store ?? STORE_FOLDER, { readOnly: true });
  const readData = options.readData === true || subset !== undefined;
  const report = await verifyStore(store, { readData, ...(subset ? { subset } : {}) });
  if (options.json) terminal.out(JSON.stringify({ store: store.root, ...report }, null, 2));
  else printFindings(store.root, report, terminal);
  return findingsExitCode(report.findings);
}

/** @throws SoftflowError `USAGE` */
function parseSubset(text: string): { n: number; of: number } {
  const [n = 0, of = 0] = /^\d{1,9}\/\d{1,9}$/.test(text) ? text.split('/').map(Number) : [];
  if (n >= 1 && n <= of) return { n, of };
  throw new SoftflowError(
    'USAGE',
    `--subset ${oneLine(text, 40)}: expected n/t with n from 1 to t, for instance 1/7; seven calls from 1/7 to 7/7 read everything once.`,
  );
}

function printFindings(root: string, { records, blobs, bytesRead, findings }: VerifyReport, terminal: Terminal): void {
  for (const finding of findings) terminal.out(describeFinding(finding, terminal));
  const read = bytesRead > 0 ? `, ${formatBytes(bytesRead)} hashed` : '';
  const count = findings.filter(({ repaired }) => !repaired).length;
  const found = count === 0 ? 'nothing wrong' : `${count} ${count === 1 ? 'finding' : 'findings'}`;
  terminal.out(`${oneLine(root, 300)}: ${records} records, ${blobs} blobs${read}: ${found}.`);
  if (findings.some(({ kind, repaired }) => !repaired && (kind === 'damaged' || kind === 'missing')))
    terminal.out('What is damaged or missing is never used: run the recipe again, and only that is computed anew.');
}

function describeFinding({ kind, path, expected, found, producer, repaired }: Finding, { paint }: Terminal): string {
  const label = repaired ? paint.dim('repaired') : paint.red(kind);
  return `${label} ${oneLine(path, 300)}: expected ${expected}, found ${oneLine(found, 300)}; made by ${producer}`;
}

export interface GcCommandOptions extends StoreOptions {
  dryRun?: boolean;
  /** A duration such as `24h`. */
  grace: string;
}

/** Collects garbage, or says what would be collected. */
export async function gc(options: GcCommandOptions, terminal: Terminal): Promise<number> {
  const graceMs = parseGrace(options.grace);
  const dryRun = options.dryRun === true;
  const store = await openStore(options.store ?? STORE_FOLDER, { readOnly: dryRun });
  const expired = await expiredSteps(store);
  if (!dryRun) for (const key of expired) await store.forgetManifest(key);
  const report = { expired, ...(await collectGarbage(store, { graceMs, dryRun })) };
  if (options.json) terminal.out(JSON.stringify({ store: store.root, dryRun, ...report }, null, 2));
  else printCollection(store.root, report, options.grace, dryRun, terminal);
  return EXIT.ok;
}

/** @throws SoftflowError `USAGE` */
function parseGrace(text: string): number {
  const graceMs = durationMs(text);
  if (graceMs !== undefined) return graceMs;
  throw new SoftflowError('USAGE', `--grace ${oneLine(text, 40)}: expected a duration such as 30m, 24h or 7d.`);
}

function printCollection(
  root: string,
  { expired, live, setAside, restored, deleted, removed, erased, bytesFreed }: GarbageReport & { expired: string[] },
  grace: string,
  dryRun: boolean,
  terminal: Terminal,
): void {
  const lines = [
    `${live} blobs in use`,
    `${setAside.length} set aside: nothing refers to them; gone in a collection after ${grace}, back at once if anybody asks`,
    `${restored.length} set aside earlier and in use after all: put back`,
    `${deleted.length} set aside earlier: gone for good`,
    `${removed.length} tiles, checkpoints and unfinished files that nobody needs: gone`,
    ...(expired.length > 0 ? [`${expired.length} steps of ended runs: let go by the retention of their recipes`] : []),
    ...(erased.length > 0 ? [`${erased.length} files of forgotten users: erased`] : []),
  ];
  terminal.out(`${oneLine(root, 300)}${dryRun ? ' (dry run: nothing was changed)' : ''}`);
  for (const line of lines) terminal.out(`  ${line}`);
  terminal.out(`  ${formatBytes(bytesFreed)} ${dryRun ? 'would be freed' : 'freed'}`);
}

export interface ForgetCommandOptions extends StoreOptions {
  user: string;
  dryRun?: boolean;
  yes?: boolean;
}

/** Forgets a user, after saying what that means and asking; or only says it. */
export async function forget(options: ForgetCommandOptions, terminal: Terminal): Promise<number> {
  const { user, dryRun = false, yes = false, json = false } = options;
  const store = await openStore(options.store ?? STORE_FOLDER, { readOnly: dryRun });
  const countRows = rowCounter(store, user);
  const print = (report: ForgetUserReport, done: boolean) => {
    const copies = copiesOf(store, report).filter((folder) => existsSync(folder));
    const { erased, ...rest } = report;
    const whole = { user, store: store.root, forgotten: done, ...rest, erased: erased.length, copies };
    if (json) terminal.out(JSON.stringify(whole, null, 2));
    else for (const line of forgetLines(user, report, copies, done)) terminal.out(line);
  };
  if (dryRun || !yes) {
    const report = await forgetUser(store, { countRows, dryRun: true });
    if (dryRun || report.steps.length === 0) print(report, false);
    if (dryRun) return EXIT.ok;
    if (report.steps.length > 0) {
      if (!json) print(report, false);
      await confirm(`Forget user ${oneLine(user, 80)}? This cannot be undone. Type yes: `);
    }
  }
  print(await forgetUser(store, { countRows }), true);
  return EXIT.ok;
}

/** Folders outside of the store that runs and releases are copied to. */
function copiesOf(store: Store, { runs, releases }: ForgetUserReport): string[] {
  const views = relative(process.cwd(), releasesFolder(store));
  return [...runs.map((runId) => join(RUNS_FOLDER, runId)), ...releases.map(({ key }) => join(views, key))];
}

/** Rows of a user in an artifact; each artifact is read once. */
function rowCounter(store: Store, user: string): (ref: ArtifactRef) => Promise<number> {
  const known = new Map<string, number>();
  return async (ref) => {
    const { schema, sha256 } = ref;
    if (!hasPersons(schema)) return 0;
    const rows = known.get(sha256) ?? (await countPersonRows(await store.pathOf(ref), schema, user));
    known.set(sha256, rows);
    return rows;
  };
}

/** @throws SoftflowError `USAGE` where nobody can be asked, or on any answer but yes */
async function confirm(question: string): Promise<void> {
  const asked = process.stdin.isTTY === true && process.stderr.isTTY === true;
  const answer = asked ? await ask(question) : '';
  if (answer.trim() === 'yes') return;
  const why = asked ? 'the answer was not yes' : 'there is no terminal to ask on; add --yes';
  throw new SoftflowError('USAGE', `Nothing was forgotten: ${why}.`);
}

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}
