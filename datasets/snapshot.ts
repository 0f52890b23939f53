/** What part of a growing source counts, and how its rows are read; keys of `data` in the run config. */
export interface CutOff {
  /** RFC 3339; without it everything that is there. */
  asOf?: string;
  /** The source's column with the time at which a row arrived; it counts only together with `asOf`. */
  knownAt?: string;
  timeUnit: 'auto' | 's' | 'ms';
  /** Share of unreadable rows above which reading fails. */
  maxBadRows: number;
}

/** Rows that the source had and the snapshot does not. */
export interface LeftOut {
  /** Their event is later than `asOf`. */
  afterAsOf: number;
  /** They arrived later than `asOf`. */
  knownLater: number;
  /** They cannot be read or have no usable time, so that nobody can say whether they belong to it. */
  withoutTime: number;
  /** Bytes of last lines that had no end yet: a writer may be at work. */
  tornBytes: number;
}
