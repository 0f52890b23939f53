import { join } from 'node:path';
import { readRunFile } from '../../client/run-results.ts';
import { EXIT } from '../exit-codes.ts';
import { printCompleted } from '../run-end.ts';
import { openStoredRuns, RUNS_FOLDER } from '../session.ts';
import type { Terminal } from '../terminal.ts';
import { recipeOf, writeView } from '../watch-run.ts';

/**
 * The results of a finished run, from the store alone, with its folder brought up to date.
 * @throws SoftflowError `RUN_NOT_FOUND`, `RUN_UNFINISHED`, those of the store
 */
export async function report(name: string, options: { json?: boolean }, terminal: Terminal): Promise<number> {
  const stored = { ...(await openStoredRuns()), runsFolder: RUNS_FOLDER };
  const runId = await stored.runs.find(name);
  const metrics = JSON.parse(Buffer.from(await readRunFile(stored.store, runId, 'metrics.json')).toString('utf8'));
  const folder = await writeView(stored, runId);
  if (options.json)
    terminal.out(JSON.stringify({ runId, folder, report: join(folder, 'report.html'), metrics }, null, 2));
  else {
    const { status } = await stored.runs.look(runId);
    printCompleted(status, { folder, ...(await recipeOf(stored, runId)) }, terminal);
  }
  return EXIT.ok;
}
