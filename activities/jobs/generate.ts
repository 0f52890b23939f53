import { stripTitle } from '../../datasets/prompts.ts';
import type { ItemRow, WindowRow } from '../../datasets/schemas.ts';
import { decodeItems, decodeWindows } from '../../datasets/tables.ts';
import type { BaseModel } from '../../model/base-model.ts';
import type { Beam } from '../../model/beam-search.ts';
import { embedTile } from '../../model/embedding.ts';
import { generateTile } from '../../model/generation.ts';
import { TitleTrie } from '../../model/title-trie.ts';
import type { Tokenizer } from '../../model/tokenizer.ts';
import type { GenerationParams, LoraParams, PromptParams, StepInput, TensorParams } from '../contracts.ts';
import type { JobContext } from '../trainer-protocol.ts';
import {
  encodeForEmbedding,
  encodePrompts,
  encodeTarget,
  readInput,
  sharedPrefix,
  uploadInputAdapter,
} from './job-data.ts';
import type { TensorSession } from './tensor-session.ts';
import { cutTiles, runTiles, type TilesDone } from './tiles.ts';

export interface GeneratingParams extends TensorParams {
  prompt: PromptParams;
  lora: LoraParams;
  generation: GenerationParams;
}

/** What a prompt was answered: beams best first, texts without quotes and spaces around them. */
export interface Answer {
  texts: string[];
  ids: number[][];
  scores: number[];
}

/** An answer with the embedding of its first beam, for grounding; it never leaves its tile. */
export interface EmbeddedAnswer extends Answer {
  row: number;
  embedding: Float32Array;
}

export interface GenerationStep {
  windows: WindowRow[];
  items: ItemRow[];
}

/**
 * Answers the prompts of a step's windows, tile by tile, and lets `finish` turn each embedded answer into what is kept.
 * @param limit the first so many windows only
 * @returns what `finish` made, in the order of the windows; undefined when other shards are not done
 */
export async function generateStep<Row>(
  session: TensorSession,
  input: StepInput<GeneratingParams>,
  context: JobContext,
  finish: (answer: EmbeddedAnswer, step: GenerationStep) => Row,
  options: { limit?: number; embed: boolean },
): Promise<{ rows: Row[]; step: GenerationStep; done: TilesDone } | undefined> {
  const { model, tokenizer } = await session.load(input.params, context);
  const items = decodeItems(await readInput(context.store, input, 'items'));
  const windows = decodeWindows(await readInput(context.store, input, 'windows')).slice(0, options.limit);
  const prompts = encodePrompts(windows, items, tokenizer, input.params.prompt);
  const prefix = sharedPrefix(prompts);
  const lora = await uploadInputAdapter(context.store, input, model.config);
  const { beamWidth, maxNewTokens, tileRows, constrain } = input.params.generation;
  const titles =
    constrain === 'catalogue' ? new TitleTrie(items.map((_, item) => encodeTarget(items, item, tokenizer))) : undefined;
  const generation = { beamWidth, maxNewTokens, endIds: [tokenizer.eosTokenId], prefix, lora, titles };
  const tiles = cutTiles(
    prompts.map((ids) => ids.length),
    tileRows,
  );
  const compute = async (rows: readonly number[], beforeStep: () => Promise<void>) => {
    const chosen = rows.map((row) => prompts[row]!);
    const beams = await generateTile(model, chosen, { ...generation, beforeStep });
    const answers = beams.map((found) => toAnswer(found, tokenizer));
    const embeddings = options.embed ? embedAnswers(model, answers, tokenizer) : answers.map(() => new Float32Array(0));
    const made = answers.map((answer, i) =>
      finish({ ...answer, row: rows[i]!, embedding: embeddings[i]! }, { windows, items }),
    );
    return Buffer.from(JSON.stringify(made));
  };
  const done = await runTiles(input, context, { tiles, unit: 'prompts', compute }).finally(() => lora?.dispose());
  if (done === undefined) return undefined;
  const rows: Row[] = [];
  done.tiles.forEach((bytes, t) => {
    const made = JSON.parse(Buffer.from(bytes).toString()) as Row[];
    (tiles[t] as number[]).forEach((row, i) => {
      rows[row] = made[i] as Row;
    });
  });
  return { rows, step: { windows, items }, done };
}

function toAnswer(beams: readonly Beam[], tokenizer: Tokenizer): Answer {
  const ids = beams.map((beam) => beam.ids.filter((id) => id !== tokenizer.eosTokenId));
  return {
    ids,
    texts: ids.map((beam) => stripTitle(tokenizer.decode(beam))),
    scores: beams.map(({ score }) => score),
  };
}

/** The embedding of each answer's first beam. */
function embedAnswers(model: BaseModel, answers: readonly Answer[], tokenizer: Tokenizer): Float32Array[] {
  const size = model.config.hiddenSize;
  const vectors = embedTile(
    model,
    answers.map(({ texts }) => encodeForEmbedding(texts[0] ?? '', tokenizer)),
  );
  return answers.map((_, i) => vectors.subarray(i * size, (i + 1) * size));
}

/** Titles as a generated text may name them. */
export function knownTitles(titles: readonly { title: string }[]): ReadonlySet<string> {
  return new Set(titles.map(({ title }) => stripTitle(title)));
}
