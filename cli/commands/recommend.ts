import { SoftflowError } from '../../errors.ts';
import type { BackendChoice } from '../../workers/backend-choices.ts';
import { EXIT } from '../exit-codes.ts';
import { openJobView } from '../job-view.ts';
import { type RecommendResult, recommend as recommendItems } from '../recommend.ts';
import { openStoredRuns } from '../session.ts';
import { prepareTools } from '../setup-run.ts';
import { oneLine, type Terminal } from '../terminal.ts';

export interface RecommendCommandOptions {
  run: string;
  users: string;
  output: string;
  k: number;
  columns?: string;
  excludeHistory?: boolean;
  backend: BackendChoice;
  json?: boolean;
}

/** The top items for the people of a file, computed here and now; Ctrl-C ends it and the same command goes on. */
export async function recommend(options: RecommendCommandOptions, terminal: Terminal): Promise<number> {
  const columns = parseColumns(options.columns);
  const { runs, store } = await openStoredRuns();
  const runId = await runs.find(options.run);
  const backend = await prepareTools(await runs.config(runId), options.backend, terminal);
  const view = openJobView(terminal, options);
  const { users, output, k, excludeHistory = false } = options;
  try {
    const result = await recommendItems({
      ...{ store, runId, users, output, k, columns, excludeHistory, backend },
      onProgress: view.onProgress,
      signal: view.signal,
    });
    view.end();
    if (options.json) terminal.out(JSON.stringify(result, null, 2));
    else printResult(result, terminal);
    return EXIT.ok;
  } finally {
    view.end();
  }
}

function printResult({ output, users, rows, histories, runId }: RecommendResult, terminal: Terminal): void {
  const { badRows, unknownRows, unknownItems, unknownExamples, usersWithoutHistory, usersCut } = histories;
  const list = (values: readonly string[]) => values.map((value) => oneLine(value, 40)).join(', ');
  terminal.out(`${output}: ${rows} recommendations for ${users} users by ${runId}`);
  if (usersCut > 0) terminal.out(`  ${usersCut} users: only the last items of the history count, as in training`);
  if (badRows > 0)
    terminal.err(`  ${badRows} of ${histories.rows} rows cannot be read, or lack a user, an item or a time`);
  if (unknownRows > 0)
    terminal.err(
      `  ${unknownRows} rows name ${unknownItems} items that the model does not know: ${list(unknownExamples)}`,
    );
  if (usersWithoutHistory > 0)
    terminal.err(
      `  ${usersWithoutHistory} users have no known item and get nothing: ${list(histories.usersWithoutHistoryExamples)}`,
    );
}

/** `user=u,item=i,time=t`. */
export function parseColumns(text: string | undefined): { user?: string; item?: string; time?: string } {
  const columns: Record<string, string> = {};
  for (const part of text?.split(',') ?? []) {
    const [role = '', ...name] = part.split('=');
    if (!['user', 'item', 'time'].includes(role) || name.length === 0)
      throw new SoftflowError(
        'USAGE',
        `--columns ${oneLine(text ?? '', 80)}: expected user=<name>,item=<name>,time=<name>`,
      );
    columns[role] = name.join('=');
  }
  return columns;
}
