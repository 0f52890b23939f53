import { compareRuns } from '../../report/compare.ts';
import { renderComparison } from '../../report/compare-table.ts';
import type { RunSummary } from '../../report/summary-types.ts';
import { EXIT } from '../exit-codes.ts';
import { openStoredRuns } from '../session.ts';
import type { Terminal } from '../terminal.ts';

export interface CompareOptions {
  k?: number;
  json?: boolean;
}

/** Two finished runs beside each other, from the store alone. */
export async function compare(
  first: string,
  second: string,
  options: CompareOptions,
  terminal: Terminal,
): Promise<number> {
  const { runs, store } = await openStoredRuns();
  const { readRunFile } = await import('../../client/run-results.ts');
  const summaryOf = async (name: string): Promise<RunSummary> =>
    JSON.parse(Buffer.from(await readRunFile(store, await runs.find(name), 'summary.json')).toString()) as RunSummary;
  const comparison = compareRuns(await summaryOf(first), await summaryOf(second), options.k);
  if (options.json) terminal.out(JSON.stringify(comparison, null, 2));
  else for (const line of renderComparison(comparison)) terminal.out(line);
  return EXIT.ok;
}
