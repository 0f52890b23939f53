import type { RecommendationRow } from '../../datasets/schemas.ts';
import { decodeEmbeddings, encodeRecommendations } from '../../datasets/tables.ts';
import { nearestTitles } from '../../model/grounding.ts';
import type { StepInput } from '../contracts.ts';
import { finishStep } from '../step-result.ts';
import type { RecommendParams } from '../tool-contracts.ts';
import type { JobContext } from '../trainer-protocol.ts';
import { generateStep } from './generate.ts';
import { readInput } from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';

/** Answers the prompt of each history and finds the titles nearest to the answer, as evaluation ranks them. */
export async function recommend(session: TensorSession, input: StepInput<RecommendParams>, context: JobContext) {
  const embeddings = decodeEmbeddings(await readInput(context.store, input, 'embeddings'));
  const { k, excludeHistory } = input.params;
  const generated = await generateStep<RecommendationRow>(
    session,
    input,
    context,
    ({ row, texts, embedding }, { windows, items }) => {
      const { windowId = '', history = [] } = windows[row] ?? {};
      const excluded = new Set(excludeHistory ? history.map((item) => items[item]?.titleRow ?? -1) : []);
      const { rows, distances } = nearestTitles(embedding, embeddings.vectors, k, excluded);
      return { windowId, text: texts[0] ?? '', titleRows: rows, distances };
    },
    { embed: true },
  );
  if (generated === undefined) return null;
  const { rows, done } = generated;
  const recommendations = await context.store.putBytes(encodeRecommendations(rows), {
    rows: rows.length,
    schema: 'recommendations',
  });
  const { fingerprint, telemetry } = done;
  return finishStep(context.store, input, { outputs: { recommendations }, result: null, fingerprint, telemetry });
}
