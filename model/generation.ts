import type { BaseModel } from './base-model.ts';
import { type Beam, BeamSearch, type NextTokens } from './beam-search.ts';
import type { Pass } from './decoder.ts';
import { forwardHidden, logitsOf, packedPass } from './forward.ts';
import type { Kernels, KeyValueCache } from './kernels.ts';
import type { Lora } from './lora.ts';
import { type PackedBatch, packBatch } from './packing.ts';
import { rotationAt } from './rotary.ts';
import { type Tensor2D, tf, tidy } from './tf.ts';
import type { TitleTrie } from './title-trie.ts';

export interface GenerateOptions {
  beamWidth: number;
  maxNewTokens: number;
  endIds: readonly number[];
  /** Tokens that all prompts of the whole step share; their keys are computed once a tile. */
  prefix: number;
  lora?: Lora | undefined;
  /** Lets beams become only what the tree holds; log-probabilities stay those of the whole vocabulary. */
  titles?: TitleTrie | undefined;
  /** Called before each decode step; what it throws ends the tile. */
  beforeStep?: (() => Promise<void>) | undefined;
}

/**
 * Beam search for one tile of prompts, from start to end: prompts are read once, then each step feeds one token
 * of every running beam. Rows never come from another tile, so a prompt's result depends on its tile alone.
 */
export async function generateTile(
  model: BaseModel,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): Promise<Beam[][]> {
  const tile = new TileGeneration(model, prompts, options);
  try {
    tile.readPrompts();
    while (tile.chooseTokens()) {
      await options.beforeStep?.();
      tile.feedTokens();
    }
    return tile.results();
  } finally {
    tile.dispose();
  }
}

/** A beam's next token and the row of the step before that it goes on from. */
interface FedToken {
  id: number;
  origin: number;
}

class TileGeneration {
  private readonly model: BaseModel;
  private readonly prompts: readonly ArrayLike<number>[];
  private readonly options: GenerateOptions;
  private readonly searches: BeamSearch[];
  private readonly batch: PackedBatch;
  private readonly cache: KeyValueCache;
  /** Tile index of each prompt that still runs. */
  private open: number[];
  /** Logits of each open prompt's rows: one row after reading, then one a beam. */
  private logits: Tensor2D | undefined;
  private rowsPerPrompt = 1;
  private fed: FedToken[] = [];
  private length = 0;

  constructor(model: BaseModel, prompts: readonly ArrayLike<number>[], options: GenerateOptions) {
    const { beamWidth: width, maxNewTokens, endIds, prefix } = options;
    this.model = model;
    this.prompts = prompts;
    this.options = options;
    this.searches = prompts.map(() => new BeamSearch({ width, maxNewTokens, endIds }));
    this.open = prompts.map((_, i) => i);
    const named = prompts.map((prompt, i) => ({ windowId: String(i), prompt }));
    this.batch = packBatch(named, prefix);
    this.cache = model.kernels.cache(model.config, this.batch, width, maxNewTokens);
  }

  /** Reads all prompts in one packed pass. */
  readPrompts(): void {
    const { model, batch, cache } = this;
    const pass = packedPass(model, batch, { lora: this.options.lora });
    const wanted = Int32Array.from(batch.segments, ({ start, rest }) => start + rest - 1);
    const onLayer = (_: number, k: Tensor2D, v: Tensor2D) => cache.addPrompts(k, v);
    const hidden = forwardHidden(model, batch.ids, pass, { wanted, onLayer });
    this.logits = logitsOf(model, hidden);
    hidden.dispose();
    pass.dispose();
  }

  /** Lets every open prompt choose its beams' next tokens; false when no prompt goes on. */
  chooseTokens(): boolean {
    const { beamWidth } = this.options;
    const next = this.nextTokens();
    const steps = this.open.map((prompt, r) =>
      this.searches[prompt]!.step(next.slice(r * this.rowsPerPrompt, (r + 1) * this.rowsPerPrompt)),
    );
    const goOn = this.open.flatMap((prompt, r) => (this.searches[prompt]!.done ? [] : [r]));
    this.fed = goOn.flatMap((r) =>
      padBeams(steps[r]!, beamWidth).map(({ origin, id }) => ({ id, origin: r * beamWidth + origin })),
    );
    if (goOn.length === 0) return false;
    // Nothing was generated before the first step, so there is nothing to go on from.
    const origins = this.length > 0 ? this.fed.map(({ origin }) => origin) : [];
    this.cache.advance(Int32Array.from(goOn), Int32Array.from(origins));
    this.open = goOn.map((r) => this.open[r]!);
    this.rowsPerPrompt = beamWidth;
    return true;
  }

  private nextTokens(): NextTokens[] {
    const { titles } = this.options;
    const { candidates } = this.searches[0]!;
    const logits = this.logits!;
    const next = titles
      ? allowedTokens(
          logits,
          candidates,
          this.open.flatMap((prompt) => allowedAfter(this.searches[prompt]!, this.rowsPerPrompt, titles)),
        )
      : bestTokens(this.model.kernels, logits, candidates);
    logits.dispose();
    this.logits = undefined;
    return next;
  }

  /** Feeds the chosen tokens; the result are the logits of the next step. */
  feedTokens(): void {
    const { model, cache } = this;
    const { beamWidth, lora } = this.options;
    const positions = this.open.flatMap((prompt) =>
      new Array<number>(beamWidth).fill(this.prompts[prompt]!.length + this.length),
    );
    const rotation = rotationAt(Int32Array.from(positions), model.frequencies);
    const attend: Pass['attend'] = (layer, q, k, v) => ({ o: cache.attend(layer, q, k, v), saved: [] });
    const pass: Pass = { rotation, attend, ...(lora && { lora }) };
    const hidden = forwardHidden(
      model,
      Int32Array.from(this.fed, ({ id }) => id),
      pass,
    );
    this.logits = logitsOf(model, hidden);
    hidden.dispose();
    rotation.dispose();
    this.length++;
  }

  results(): Beam[][] {
    return this.searches.map((search) => search.result());
  }

  dispose(): void {
    this.logits?.dispose();
    this.cache.dispose();
  }
}

/** The `count` best tokens of each row with their log-probabilities over the whole vocabulary. */
function bestTokens(kernels: Kernels, logits: Tensor2D, count: number): NextTokens[] {
  const width = Math.min(count, logits.shape[1]);
  const best = kernels.bestTokens(logits, width);
  const logProbs = best.logProbs.dataSync() as Float32Array;
  const tokens = best.ids.dataSync() as Int32Array;
  tf.dispose([best.logProbs, best.ids]);
  return Array.from({ length: logits.shape[0] }, (_, row) => ({
    ids: tokens.subarray(row * width, (row + 1) * width),
    logProbs: logProbs.subarray(row * width, (row + 1) * width),
  }));
}

/** Tokens that each of a prompt's rows may go on with; none for rows that only fill up the width. */
function allowedAfter(search: BeamSearch, rows: number, titles: TitleTrie): Int32Array[] {
  return Array.from({ length: rows }, (_, row) => {
    const sequence = search.sequences[row];
    return sequence === undefined ? new Int32Array(0) : titles.after(sequence);
  });
}

/** As `bestTokens`, among each row's allowed tokens alone. */
function allowedTokens(logits: Tensor2D, count: number, allowed: readonly Int32Array[]): NextTokens[] {
  const vocabulary = logits.shape[1];
  const places = Int32Array.from(allowed.flatMap((ids, row) => Array.from(ids, (id) => row * vocabulary + id)));
  const [chosen, sums] = tidy(() => [
    tf.gather(tf.reshape(logits, [-1]), tf.tensor1d(places, 'int32')),
    tf.logSumExp(logits, 1),
  ]);
  const values = chosen!.dataSync() as Float32Array;
  const normalisers = sums!.dataSync() as Float32Array;
  tf.dispose([chosen!, sums!]);
  let at = 0;
  return allowed.map((ids, row) => {
    const order = Array.from(ids, (id, i) => ({ id, logProb: Math.fround(values[at + i]! - normalisers[row]!) }));
    at += ids.length;
    order.sort((a, b) => b.logProb - a.logProb || a.id - b.id);
    const best = order.slice(0, count);
    return { ids: best.map(({ id }) => id), logProbs: best.map(({ logProb }) => logProb) };
  });
}

/** Where a step has fewer beams than the width (few tokens are possible), the last one fills up the rows. */
function padBeams(step: { origin: number; id: number }[], width: number): { origin: number; id: number }[] {
  const last = step.at(-1) ?? { origin: 0, id: 0 };
  return Array.from({ length: width }, (_, b) => step[b] ?? last);
}
