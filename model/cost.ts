// Apart from what measures it, so that whoever only reckons with it loads no tensor library.

/** A cost as `fixed + layers * layer`. */
export interface Cost {
  fixed: number;
  layer: number;
}

/** What the units of a run's work cost here, in seconds. */
export interface Calibration {
  /** A micro-batch with one answer a sample, and with y and y-hat. */
  trainOne: Cost;
  trainBoth: Cost;
  /** Reading the prompts of a tile, and one decode step of all its beams. */
  read: Cost;
  decode: Cost;
  /** Embedding a tile of titles. */
  embed: Cost;
  /** Other work has taken cores away meanwhile: the times are too high. */
  busy: boolean;
}

/** Seconds of a unit in a model of so many layers. */
export const costOf = ({ fixed, layer }: Cost, layers: number): number => fixed + layers * layer;
