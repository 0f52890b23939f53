import type { PredictionRow } from '../datasets/schemas.ts';
import { decodeItems, decodeTitles, decodeWindows, encodePredictions } from '../datasets/tables.ts';
import { popularityRanks, predictionMetrics } from '../report/metrics.ts';
import type { StepBody } from './step-contracts.ts';

/**
 * Ranks each window's target by how often titles are targets of train windows. The rule of the method: 1 + titles at
 * least as popular as the target, itself excluded.
 */
export const evaluatePopularity: StepBody<'evaluatePopularity'> = async (store, { inputs, params }) => {
  const titles = decodeTitles(await store.getBytes(inputs.titles));
  const items = decodeItems(await store.getBytes(inputs.items));
  const rankOf = popularityRanks(titles.map(({ popularity }) => popularity));
  const best = rankOf.indexOf(Math.min(...rankOf));
  const predictions: PredictionRow[] = decodeWindows(await store.getBytes(inputs.windows)).map(
    ({ windowId, target }) => {
      const targetRow = (items[target] as (typeof items)[number]).titleRow;
      const rank = rankOf[targetRow] as number;
      return { windowId, targetRow, text: '', rank, distance: 0, nearest: best, exists: false, valid: true };
    },
  );
  const bytes = encodePredictions(predictions);
  return {
    outputs: { predictions: await store.putBytes(bytes, { rows: predictions.length, schema: 'predictions' }) },
    result: predictionMetrics(predictions, params.ks, false),
  };
};
