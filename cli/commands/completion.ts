import type { Command } from 'commander';
import { suggest } from '../../client/suggest.ts';
import { SoftflowError } from '../../errors.ts';
import { completedCommands, completionScript, SHELLS, type Shell } from '../completion.ts';
import { EXIT } from '../exit-codes.ts';
import { hasStore, STORE_FOLDER } from '../session.ts';
import { oneLine, type Terminal } from '../terminal.ts';

/** Prints the completion script of a shell, or (`runs`) what it completes run ids with. */
export async function completion(shell: string, program: Command, terminal: Terminal): Promise<number> {
  if (shell === 'runs') return printRuns(terminal);
  if (!SHELLS.includes(shell as Shell)) {
    const near = suggest(shell, SHELLS);
    throw new SoftflowError(
      'USAGE',
      `softflow completion ${oneLine(shell, 40)}: expected ${SHELLS.join(', ')}${near ? `, did you mean "${near}"?` : '.'}`,
    );
  }
  terminal.raw(completionScript(shell as Shell, completedCommands(program)));
  return EXIT.ok;
}

/** Ids from the store alone: a Tab waits for no server. */
async function printRuns(terminal: Terminal): Promise<number> {
  if (!hasStore()) return EXIT.ok;
  const { openStore } = await import('../../artifacts/store.ts');
  const store = await openStore(STORE_FOLDER, { readOnly: true });
  for (const runId of ['latest', ...(await store.listRuns())]) terminal.out(runId);
  return EXIT.ok;
}
