import type { DistanceRow } from '../../datasets/schemas.ts';
import { decodeEmbeddings, encodeDistances } from '../../datasets/tables.ts';
import { SoftflowError } from '../../errors.ts';
import { l2Distance } from '../../model/grounding.ts';
import type { DistanceResult, MeasureDistanceParams, StepInput } from '../contracts.ts';
import { finishStep } from '../step-result.ts';
import type { JobContext } from '../trainer-protocol.ts';
import { generateStep } from './generate.ts';
import { readInput } from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';

/** Mean L2 distance between the embeddings of generated and true titles on the first train prompts. */
export async function measureDistance(
  session: TensorSession,
  input: StepInput<MeasureDistanceParams>,
  context: JobContext,
) {
  const titles = decodeEmbeddings(await readInput(context.store, input, 'embeddings'));
  const generated = await generateStep<DistanceRow>(
    session,
    input,
    context,
    ({ row, texts, embedding }, { windows, items }) => {
      const titleRow = items[windows[row]?.target ?? -1]?.titleRow ?? 0;
      const distance = l2Distance(embedding, 0, titles.vectors, titleRow, titles.size);
      if (!Number.isFinite(distance))
        throw new SoftflowError(
          'NOT_FINITE',
          `Expected a finite distance for window ${windows[row]?.windowId}, got ${distance}`,
        );
      return { windowId: windows[row]?.windowId ?? '', text: texts[0] ?? '', distance };
    },
    { limit: input.params.prompts, embed: true },
  );
  if (generated === undefined) return null;
  const { rows, done } = generated;
  const distances = await context.store.putBytes(encodeDistances(rows), { rows: rows.length, schema: 'distances' });
  const result: DistanceResult = {
    distance: rows.reduce((sum, { distance }) => sum + distance, 0) / rows.length,
    prompts: rows.length,
  };
  const { fingerprint, telemetry } = done;
  return finishStep(context.store, input, { outputs: { distances }, result, fingerprint, telemetry });
}
