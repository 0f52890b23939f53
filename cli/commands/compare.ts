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

/** Finished runs beside the first of them, from the store alone. */
export async function compare(
  first: string,
  others: readonly string[],
  options: CompareOptions,
  terminal: Terminal,
): Promise<number> {
  const { runs, store } = await openStoredRuns();
  const { readRunFile } = await import('../../client/run-results.ts');
  const summaryOf = async (name: string): Promise<RunSummary> =>
    JSON.parse(Buffer.from(await readRunFile(store, await runs.find(name), 'summary.json')).toString()) as RunSummary;
  const against = await summaryOf(first);
  const summaries = await Promise.all(others.map(summaryOf));
  const comparisons = summaries.map((summary) => compareRuns(against, summary, options.k));
  if (options.json) terminal.out(JSON.stringify(comparisons.length === 1 ? comparisons[0] : comparisons, null, 2));
  else terminal.out(comparisons.map((comparison) => renderComparison(comparison).join('\n')).join('\n\n'));
  return EXIT.ok;
}
