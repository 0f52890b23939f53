import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { type Decision, promoteRun, recordDecision } from '../artifacts/decisions.ts';
import { writeReleaseView } from '../artifacts/release-view.ts';
import type { PromoteInput } from '../artifacts/releases.ts';
import { readRunStatus } from '../artifacts/run-status.ts';
import type { Store } from '../artifacts/store.ts';
import { decodePredictions, decodeWindows } from '../datasets/tables.ts';
import { judgeChallenger } from '../report/judge.ts';
import type { RunSummary } from '../report/summary-types.ts';
import { drawReport } from './draw-report.ts';
import type { JudgeInput, Judgement, PromoteResult } from './promotion-contracts.ts';

/** Moves `current` to a run's release, then the folder that servers read. */
export async function promote(store: Store, input: PromoteInput & { runId: string }): Promise<PromoteResult> {
  const { won, current } = await promoteRun(store, input, (decision) => reportWith(store, decision));
  const result = { won, number: current?.number ?? 0, release: current?.release ?? null };
  const viewFault = won ? await viewFaultOf(store) : undefined;
  return { ...result, ...(viewFault === undefined ? {} : { viewFault }) };
}

/** Notes a decision that leaves `current` where it is, and shows it in the run's report. */
export async function noteDecision(store: Store, decision: Omit<Decision, 'at' | 'report'>): Promise<void> {
  const report = await reportWith(store, decision);
  await recordDecision(store, { ...decision, ...(report ? { report } : {}) });
}

/**
 * The run's report with the decision in it. A report is for reading: a run that has none, or a summary that another version
 * wrote, never stands in the way of a decision.
 */
async function reportWith(store: Store, decision: Omit<Decision, 'at' | 'report'>): Promise<ArtifactRef | undefined> {
  return renderWith(store, decision).catch(() => undefined);
}

async function renderWith(
  store: Store,
  { runId, decision, reason: why, release, champion, metrics: figures }: Omit<Decision, 'at' | 'report'>,
): Promise<ArtifactRef | undefined> {
  const status = (await readRunStatus(store, runId)) as { steps: { step: string; key?: string }[] } | undefined;
  const key = status?.steps.find(({ step }) => step === 'renderReport')?.key;
  const ref = key === undefined ? undefined : (await store.readManifest(key))?.outputs['summary.json'];
  if (!ref) return undefined;
  const summary = JSON.parse(Buffer.from(await store.getBytes(ref)).toString()) as RunSummary;
  const promotion = { decision, why, release, champion, figures };
  return store.putBytes(Buffer.from(await drawReport({ ...summary, promotion })));
}

/** The view follows; what keeps it from that must not undo or repeat the promotion, which has happened. */
async function viewFaultOf(store: Store): Promise<string | undefined> {
  try {
    await writeReleaseView(store);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Judges two sets of predictions on the windows that neither side has learnt from. */
export async function judge(store: Store, input: JudgeInput): Promise<Judgement> {
  const { rule, opponent, afterMs } = input;
  const windows = decodeWindows(await store.getBytes(input.windows));
  const fair = new Set(
    windows.filter(({ targetTimeMs }) => afterMs === null || targetTimeMs > afterMs).map(({ windowId }) => windowId),
  );
  const side = async (ref: JudgeInput['challenger']) =>
    decodePredictions(await store.getBytes(ref)).filter(({ windowId }) => fair.has(windowId));
  const [challenger, champion] = [await side(input.challenger), await side(input.champion)];
  return judgeChallenger({ ...rule, opponent, challenger, champion });
}
