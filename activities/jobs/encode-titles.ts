import { decodeTitles, encodeEmbeddings } from '../../datasets/tables.ts';
import { embedTile } from '../../model/embedding.ts';
import type { EncodeTitlesParams, EncodeTitlesResult, StepInput } from '../contracts.ts';
import { finishStep } from '../step-result.ts';
import type { JobContext } from '../trainer-protocol.ts';
import { encodeForEmbedding, readInput } from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';
import { cutTiles, runTiles } from './tiles.ts';

/** Embeds every title of the title table with the base model. */
export async function encodeTitles(session: TensorSession, input: StepInput<EncodeTitlesParams>, context: JobContext) {
  const { model, tokenizer } = await session.load(input.params, context);
  const titles = decodeTitles(await readInput(context.store, input, 'titles'));
  const tokens = titles.map(({ title }) => encodeForEmbedding(title, tokenizer));
  const tiles = cutTiles(
    tokens.map((ids) => ids.length),
    input.params.tileRows,
  );
  const done = await runTiles(input, context, {
    tiles,
    unit: 'titles',
    compute: (rows) =>
      bytesOf(
        embedTile(
          model,
          rows.map((row) => tokens[row] as number[]),
        ),
      ),
  });
  if (done === undefined) return null;
  const size = model.config.hiddenSize;
  const embeddings = new Float32Array(titles.length * size);
  done.tiles.forEach((bytes, t) => {
    const vectors = new Float32Array(bytes.slice().buffer);
    for (const [i, row] of tiles[t]!.entries()) embeddings.set(vectors.subarray(i * size, (i + 1) * size), row * size);
  });
  const ref = await context.store.putBytes(encodeEmbeddings(embeddings, size), {
    rows: titles.length,
    schema: 'embeddings',
  });
  const result: EncodeTitlesResult = { rows: titles.length, size };
  const { fingerprint, telemetry } = done;
  return finishStep(context.store, input, { outputs: { embeddings: ref }, result, fingerprint, telemetry });
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
