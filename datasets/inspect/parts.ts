import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Files of rows to validate and to test on. */
export interface Parts {
  valid?: string;
  test?: string;
}

/** `books.train.csv`, `train-00000-of-00001.parquet`, but not `constraints.csv`. */
const TRAIN = /(?<![A-Za-z])train(?![A-Za-z])/;
const VALID = ['valid', 'validation', 'val', 'dev'];

/** The other parts of data that its publisher has split, by their names beside that of the train part. */
export function partsBeside(path: string): Parts {
  const name = basename(path);
  if (!TRAIN.test(name)) return {};
  const beside = (words: readonly string[]) =>
    words.map((word) => join(dirname(path), name.replace(TRAIN, word))).find((other) => existsSync(other));
  const [valid, test] = [beside(VALID), beside(['test'])];
  if (test === undefined) return {};
  return { ...(valid === undefined ? {} : { valid }), test };
}
