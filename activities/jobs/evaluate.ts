import type { PredictionRow } from '../../datasets/schemas.ts';
import { decodeEmbeddings, decodeTitles, encodePredictions } from '../../datasets/tables.ts';
import { ground } from '../../model/grounding.ts';
import { predictionMetrics } from '../../report/metrics.ts';
import type { EvaluateParams, StepInput } from '../contracts.ts';
import { finishStep } from '../step-result.ts';
import type { JobContext } from '../trainer-protocol.ts';
import { generateStep, knownTitles } from './generate.ts';
import { readInput } from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';

/** Answers each window's prompt, grounds the first beam in the whole catalogue and ranks the true title. */
export async function evaluate(session: TensorSession, input: StepInput<EvaluateParams>, context: JobContext) {
  const embeddings = decodeEmbeddings(await readInput(context.store, input, 'embeddings'));
  const known = knownTitles(decodeTitles(await readInput(context.store, input, 'titles')));
  const generated = await generateStep<PredictionRow>(
    session,
    input,
    context,
    ({ row, texts, embedding }, { windows, items }) => {
      const text = texts[0] ?? '';
      const targetRow = items[windows[row]?.target ?? -1]?.titleRow ?? 0;
      const grounded = ground(embedding, embeddings.vectors, embeddings.size, targetRow);
      return {
        windowId: windows[row]?.windowId ?? '',
        targetRow,
        text,
        ...grounded,
        exists: known.has(text),
        valid: text !== '',
      };
    },
    { embed: true },
  );
  if (generated === undefined) return null;
  const { rows, done } = generated;
  const predictions = await context.store.putBytes(encodePredictions(rows), {
    rows: rows.length,
    schema: 'predictions',
  });
  const { fingerprint, telemetry } = done;
  const result = predictionMetrics(rows, input.params.ks);
  return finishStep(context.store, input, { outputs: { predictions }, result, fingerprint, telemetry });
}
