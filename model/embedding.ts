import type { BaseModel } from './base-model.ts';
import { forwardHidden, packedPass } from './decoder.ts';
import { packBatch } from './packing.ts';
import { type Tensor2D, tf, tidy } from './tf.ts';

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
  const hidden = forwardHidden(model, batch.ids, pass);
  const last = Int32Array.from(batch.segments, ({ start, rest }) => start + rest - 1);
  const rows = tidy(() => {
    const x = tf.gather(hidden, tf.tensor1d(last, 'int32')) as Tensor2D;
    return model.kernels.rmsNorm(x, model.finalNorm, model.config.normEps).y;
  });
  const data = rows.dataSync() as Float32Array;
  tf.dispose([hidden, rows]);
  pass.dispose();
  return data;
}
