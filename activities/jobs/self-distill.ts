import { stripTitle } from '../../datasets/prompts.ts';
import type { DistilledRow } from '../../datasets/schemas.ts';
import { encodeDistilled } from '../../datasets/tables.ts';
import type { SelfDistillParams, SelfDistillResult, StepInput } from '../contracts.ts';
import { finishStep } from '../step-result.ts';
import type { JobContext } from '../trainer-protocol.ts';
import { generateStep, knownTitles } from './generate.ts';
import type { TensorSession } from './tensor-session.ts';

/** The SFT model answers the train prompts; the first beam is the distilled target y-hat. */
export async function selfDistill(session: TensorSession, input: StepInput<SelfDistillParams>, context: JobContext) {
  const generated = await generateStep<DistilledRow>(
    session,
    input,
    context,
    ({ row, texts, ids, scores }, { windows }) => ({
      windowId: windows[row]?.windowId ?? '',
      text: texts[0] ?? '',
      tokenIds: ids[0] ?? [],
      logProbability: scores[0] ?? 0,
      beamTexts: texts,
      beamScores: scores,
    }),
    { embed: false },
  );
  if (generated === undefined) return null;
  const { rows, step, done } = generated;
  const distilled = await context.store.putBytes(encodeDistilled(rows), { rows: rows.length, schema: 'distilled' });
  const known = knownTitles(step.items);
  const targetOf = (i: number) => stripTitle(step.items[step.windows[i]?.target ?? -1]?.title ?? '');
  const result: SelfDistillResult = {
    rows: rows.length,
    exactTargets: rows.filter(({ text }, i) => text === targetOf(i)).length,
    existingTitles: rows.filter(({ text }) => known.has(text)).length,
    distinctTexts: new Set(rows.map(({ text }) => text)).size,
  };
  const { fingerprint, telemetry } = done;
  return finishStep(context.store, input, { outputs: { distilled }, result, fingerprint, telemetry });
}
