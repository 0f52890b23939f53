import { afterAll, describe, it } from 'vitest';
import { docCommands, docPages } from '../support/docs-commands.ts';
import { DocsProject } from '../support/docs-project.ts';

/** Every command of README.md and docs/, in one folder and in order, compared with what its page says that it prints. */
const project = new DocsProject();
const full = process.env['SOFTFLOW_TEST_FULL'] === '1';

afterAll(() => project.remove(), 120_000);

describe.each(docPages().filter((page) => docCommands(page).length > 0))('commands of %s', (page) => {
  const commands = docCommands(page);
  for (const doc of commands) {
    const name = `line ${doc.line}: ${doc.command}`;
    if (doc.notRun !== undefined) it.skip(`${name} (not run: ${doc.notRun})`);
    else if (doc.full && !full) it.skip(`${name} (only npm run test:full)`);
    else it(name, () => project.check(doc));
  }
});
