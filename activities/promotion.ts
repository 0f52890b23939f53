import { promoteRun } from '../artifacts/decisions.ts';
import { writeReleaseView } from '../artifacts/release-view.ts';
import type { PromoteInput } from '../artifacts/releases.ts';
import type { Store } from '../artifacts/store.ts';
import { decodePredictions, decodeWindows } from '../datasets/tables.ts';
import { judgeChallenger } from '../report/judge.ts';
import type { JudgeInput, Judgement, PromoteResult } from './promotion-contracts.ts';

/** Moves `current` to a run's release, then the folder that servers read. */
export async function promote(store: Store, input: PromoteInput & { runId: string }): Promise<PromoteResult> {
  const { won, current } = await promoteRun(store, input);
  const result = { won, number: current?.number ?? 0, release: current?.release ?? null };
  const viewFault = won ? await viewFaultOf(store) : undefined;
  return { ...result, ...(viewFault === undefined ? {} : { viewFault }) };
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
