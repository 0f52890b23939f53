import { z } from 'zod';
import { SoftflowError } from '../errors.ts';
import { type ArtifactRef, ArtifactRefSchema, DigestSchema } from './artifact-ref.ts';
import { canonicalJson } from './canonical-json.ts';
import { FiguresSchema, type MoveResult, type PromoteInput, promoteRelease, releaseMoves } from './releases.ts';
import type { Store } from './store.ts';

const DECISION = 'decision';
/** Pointer to the run whose promotion waits for a person; a newer one takes its place. */
const WAITING = 'waiting';

/** How the question stands whether a run's release becomes current. */
const DecisionSchema = z.strictObject({
  decision: z.enum(['waiting', 'promoted', 'kept', 'rejected', 'superseded']),
  runId: z.string(),
  release: DigestSchema,
  /** The release that it stood against; null: there was none. */
  champion: DigestSchema.nullable(),
  by: z.string().min(1).max(200),
  /** RFC 3339, UTC. */
  at: z.iso.datetime(),
  /** Why, in a sentence. */
  reason: z.string().max(2000),
  metrics: FiguresSchema,
  /** The run's report, made again with the decision in it. */
  report: ArtifactRefSchema.optional(),
});
export type Decision = z.infer<typeof DecisionSchema>;

/** A row of the audit table: a move of `current`, or a decision that left it where it is. */
export interface AuditRow {
  at: string;
  what: 'promote' | 'rollback' | 'kept' | 'rejected' | 'superseded';
  /** Of `current`, for a move. */
  number: number | null;
  runId: string | null;
  /** Current before. */
  from: string | null;
  /** Current after. */
  to: string | null;
  by: string;
  reason: string;
  metrics: Decision['metrics'];
}

/** The part of a run's record that names its release. */
const RunStatusSchema = z.object({
  phase: z.string(),
  steps: z.array(z.object({ step: z.string(), key: z.string().optional() })),
});

/** Key of the release step of a run; undefined when the run has none. */
export async function findReleaseOf(store: Store, runId: string): Promise<string | undefined> {
  const { data } = RunStatusSchema.safeParse((await store.readRunRecord(runId, 'status'))?.value);
  const done = data?.steps.find(({ step, key }) => step === 'release' && key !== undefined);
  return done?.key !== undefined && (await store.readManifest(done.key)) ? done.key : undefined;
}

/** @throws SoftflowError `RUN_UNFINISHED` when the run has no release */
export async function releaseOf(store: Store, runId: string): Promise<string> {
  const release = await findReleaseOf(store, runId);
  if (release !== undefined) return release;
  throw new SoftflowError(
    'RUN_UNFINISHED',
    `Run ${runId} has no release to promote. See \`softflow status ${runId}\`; a run that has not reached its end goes on ` +
      'with `softflow resume`.',
    { details: { runId } },
  );
}

/** Adds a run's decision; one that says the same as the newest but for its time is not added again. */
export async function recordDecision(store: Store, input: Omit<Decision, 'at'> & { at?: string }): Promise<void> {
  const decision = DecisionSchema.parse({ ...input, at: input.at ?? new Date().toISOString() });
  const newest = await readDecision(store, decision.runId);
  if (newest && canonicalJson({ ...newest, at: '' }) === canonicalJson({ ...decision, at: '' })) return;
  await store.putRunRecord(decision.runId, DECISION, decision);
}

/** The newest decision about a run; undefined when nobody has asked yet. */
export async function readDecision(store: Store, runId: string): Promise<Decision | undefined> {
  return DecisionSchema.safeParse((await store.readRunRecord(runId, DECISION))?.value).data;
}

/** Makes a run's report again with a decision in it; undefined when the run has none. */
export type MakeReport = (decision: Omit<Decision, 'at' | 'report'>) => Promise<ArtifactRef | undefined>;

/** Promotes a run's release and notes it with the run. @throws those of `promoteRelease` */
export async function promoteRun(
  store: Store,
  input: PromoteInput & { runId: string },
  makeReport: MakeReport = async () => undefined,
): Promise<MoveResult> {
  const moved = await promoteRelease(store, input);
  if (!moved.won) return moved;
  const { release, from, by, at, reason, metrics } = moved.current;
  const decision = { decision: 'promoted' as const, runId: input.runId, release, champion: from, by, reason, metrics };
  const report = await makeReport(decision);
  await recordDecision(store, { ...decision, at, ...(report ? { report } : {}) });
  return moved;
}

/** A promotion that waits for a person. */
const WaitingSchema = z.strictObject({
  runId: z.string(),
  /** Of the workflow that waits: a run may be asked about more than once. */
  execution: z.string(),
});
export type Waiting = z.infer<typeof WaitingSchema>;

/**
 * Makes a promotion the one that waits for a person.
 *
 * @returns the one that waited before, decided meanwhile or not; undefined when there was none
 */
export async function announceWaiting(store: Store, waiting: Waiting): Promise<Waiting | undefined> {
  for (;;) {
    const all = await store.listRef(WAITING);
    const known = all.map(({ value }) => WaitingSchema.safeParse(value).data);
    const mine = known.findIndex((earlier) => earlier?.execution === waiting.execution);
    // Asked again after an answer that was lost, the one before is the same as it was.
    if (mine >= 0) return known[mine - 1];
    if ((await store.advanceRef(WAITING, all.at(-1)?.n ?? 0, waiting)).won) return known.at(-1);
  }
}

/** Every move of `current` and every decision that left it where it is, oldest first. */
export async function auditTable(store: Store): Promise<AuditRow[]> {
  const moves = (await releaseMoves(store)).map(({ move, number, runId, from, release, by, at, reason, metrics }) => {
    const row: AuditRow = { at, what: move, number, runId, from, to: release, by, reason, metrics };
    return row;
  });
  const decisions = await Promise.all((await store.listRuns()).map((runId) => stayed(store, runId)));
  return [...moves, ...decisions.flat()].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

async function stayed(store: Store, run: string): Promise<AuditRow[]> {
  const records = await store.listRunRecords(run, DECISION);
  return records.flatMap(({ value }) => {
    const { data } = DecisionSchema.safeParse(value);
    if (!data || data.decision === 'promoted' || data.decision === 'waiting') return [];
    const { decision: what, runId, champion, by, at, reason, metrics } = data;
    return [{ at, what, number: null, runId, from: champion, to: champion, by, reason, metrics }];
  });
}
