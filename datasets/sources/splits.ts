import { sqlText } from './tabular.ts';

/** The parts of the data, in the order in which they may know of each other. */
export const SPLITS = ['train', 'valid', 'test'] as const;
export type Split = (typeof SPLITS)[number];

/** What publishers call them in a column, in lower case. */
const NAMES: Record<Split, readonly string[]> = {
  train: ['train', 'training'],
  valid: ['valid', 'validation', 'val', 'dev'],
  test: ['test', 'testing'],
};

/** SQL of a split's place in `SPLITS`, from the text of a split column; NULL for other words. */
export function splitPlaceSql(text: string): string {
  const cases = SPLITS.map(
    (split, place) => `WHEN lower(trim(${text})) IN (${NAMES[split].map(sqlText).join(', ')}) THEN ${place}`,
  );
  return `CASE ${cases.join(' ')} END`;
}

/** SQL of a split's name, from its place. */
export function splitNameSql(place: string): string {
  return `CASE ${place} ${SPLITS.map((split, i) => `WHEN ${i} THEN ${sqlText(split)}`).join(' ')} END`;
}
