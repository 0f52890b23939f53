import type { BaseModel } from './base-model.ts';
import { forwardHidden, packedPass } from './forward.ts';
import { packBatch } from './packing.ts';
import { tf, tidy } from './tf.ts';

/**
 * Text embeddings by the base model: the hidden state after the final norm at the text's last token.
 * Source: SOFT's grounding, after BIGRec. Every text has one token or more.
 * @returns [n * d], row-major
 */
export function embedTile(model: BaseModel, texts: readonly ArrayLike<number>[]): Float32Array {
  const batch = packBatch(
    texts.map((prompt, i) => ({ windowId: String(i), prompt })),
    0,
  );
  const pass = packedPass(model, batch);
  const wanted = Int32Array.from(batch.segments, ({ start, rest }) => start + rest - 1);
  const hidden = forwardHidden(model, batch.ids, pass, { wanted });
  const rows = tidy(() => model.kernels.rmsNorm(hidden, model.finalNorm, model.config.normEps).y);
  const data = rows.dataSync() as Float32Array;
  tf.dispose([hidden, rows]);
  pass.dispose();
  return data;
}
