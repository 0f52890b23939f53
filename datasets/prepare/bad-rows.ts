import { SoftflowError } from '../../errors.ts';
import type { Duck } from '../duck.ts';
import type { OpenedFile } from '../sources/tabular.ts';

/** Lines that the CSV reader refused, from its table of rejects. */
export async function countRejects(duck: Duck, table: string): Promise<number> {
  const { lines } = await duck.numbers<'lines'>(`SELECT count(DISTINCT line) AS lines FROM ${table}`);
  return lines;
}

export async function rejectExamples(duck: Duck, table: string): Promise<string[]> {
  const rows = await duck.rows<{ text: string }>(
    `SELECT 'line ' || line || ': ' || lower(min(error_type::VARCHAR)) AS text FROM ${table} GROUP BY line ORDER BY line LIMIT 3`,
  );
  return rows.map(({ text }) => text);
}

export interface BadRows {
  bad: number;
  rows: number;
  /** Share of the rows that may be bad. */
  limit: number;
  reasons: Record<string, number>;
  examples: string[];
}

/** Several files where each is a split. */
export const namesOf = (files: readonly OpenedFile[]): string => files.map(({ path }) => path).join(', ');

export function tooManyBadRows(
  files: readonly OpenedFile[],
  { bad, rows, limit, reasons, examples }: BadRows,
): SoftflowError {
  const path = namesOf(files);
  const parts = Object.entries(reasons).filter(([, count]) => count > 0);

  return new SoftflowError(
    'DATA_BAD_ROWS',
    `${bad} of ${rows} rows of ${path} cannot be used (${parts.map(([name, n]) => `${name} ${n}`).join(', ')}), expected ` +
      `at most a share of ${limit}. First ones: ${examples.join('; ')}. Correct the file or raise \`data.maxBadRows\``,
    { details: { path, bad, rows, reasons, examples } },
  );
}

export function noRows(files: readonly OpenedFile[]): SoftflowError {
  return new SoftflowError('DATA_EMPTY', `Expected rows below the header of ${namesOf(files)}, found none`, {
    details: { path: namesOf(files) },
  });
}
