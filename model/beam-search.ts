/** A generated sequence, best first: new tokens with the end token where there is one, and its score. */
export interface Beam {
  ids: number[];
  /** Sum of log-probabilities divided by the number of new tokens. */
  score: number;
}

/** The best tokens of one running beam: ids with their log-probabilities, best first. */
export interface NextTokens {
  ids: ArrayLike<number>;
  logProbs: ArrayLike<number>;
}

interface Hypothesis {
  ids: number[];
  score: number;
}

/**
 * Beam search of one prompt, token-identical to transformers' (length penalty 1, `early_stopping` false).
 * Source: test/reference/BEAM.md. It holds no tensors: the caller feeds the best tokens of each running beam.
 */
export class BeamSearch {
  readonly width: number;
  private readonly maxNewTokens: number;
  private readonly endIds: ReadonlySet<number>;
  private running: Hypothesis[] = [{ ids: [], score: 0 }];
  private finished: Hypothesis[] = [];
  private open = true;
  private length = 0;

  constructor(options: { width: number; maxNewTokens: number; endIds: readonly number[] }) {
    this.width = options.width;
    this.maxNewTokens = options.maxNewTokens;
    this.endIds = new Set(options.endIds);
  }

  /** How many of each beam's best tokens a step needs. */
  get candidates(): number {
    return Math.max(2, 1 + this.endIds.size) * this.width;
  }

  get done(): boolean {
    return !this.open || this.length >= this.maxNewTokens;
  }

  /**
   * One step: `next[b]` are the best tokens of running beam b (only the first beam runs in the first step).
   * Returns for each running beam of the next step the beam it came from and its new token; empty when done.
   */
  step(next: readonly NextTokens[]): { origin: number; id: number }[] {
    const ranked = this.rank(next);
    const last = this.length + 1 === this.maxNewTokens;
    const ends = (id: number) => last || this.endIds.has(id);
    const goOn = ranked.filter((candidate) => !ends(candidate.id)).slice(0, this.width);
    if (this.open) this.finish(ranked.slice(0, this.width).filter((candidate) => ends(candidate.id)));
    const before = this.running;
    this.running = goOn.map(({ origin, id, score }) => ({ ids: [...(before[origin] as Hypothesis).ids, id], score }));
    this.length++;
    const best =
      this.running[0] === undefined ? Number.NEGATIVE_INFINITY : Math.fround(this.running[0].score / this.length);
    const worst = this.finished.at(-1)?.score ?? Number.NEGATIVE_INFINITY;
    this.open = this.open && this.running.length > 0 && (this.finished.length < this.width || best > worst);
    return this.done ? [] : goOn;
  }

  /** Candidates of all beams by their float32 sums, best first; equal sums keep the order (beam, token id). */
  private rank(next: readonly NextTokens[]): { origin: number; id: number; score: number }[] {
    const all: { origin: number; id: number; score: number }[] = [];
    next.slice(0, this.running.length).forEach(({ ids, logProbs }, origin) => {
      const sum = (this.running[origin] as Hypothesis).score;
      for (let i = 0; i < ids.length; i++)
        all.push({ origin, id: ids[i] as number, score: Math.fround(sum + (logProbs[i] as number)) });
    });
    all.sort((x, y) => y.score - x.score || x.origin - y.origin || x.id - y.id);
    return all.slice(0, this.candidates);
  }

  private finish(ended: { origin: number; id: number; score: number }[]): void {
    const added = ended.map(({ origin, id, score }) => ({
      ids: [...(this.running[origin] as Hypothesis).ids, id],
      score: Math.fround(score / (this.length + 1)),
    }));
    // A stable sort keeps old places before new ones and candidates by rank where scores are equal.
    this.finished = [...this.finished, ...added].sort((x, y) => y.score - x.score).slice(0, this.width);
  }

  /** New tokens of each running beam. */
  get sequences(): readonly (readonly number[])[] {
    return this.running.map(({ ids }) => ids);
  }

  /** Finished sequences, best first. */
  result(): Beam[] {
    return this.finished.map(({ ids, score }) => ({ ids, score }));
  }
}
