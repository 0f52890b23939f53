import type { ForgetCommandOptions, GcCommandOptions, VerifyCommandOptions } from './commands/store.ts';
import { jsonOption, type Registry } from './register.ts';
import { STORE_FOLDER } from './session.ts';

/** Commands about the artifact store. */
export function addStoreCommands({ program, run, terminal }: Registry): void {
  const store = program
    .command('store')
    .summary('check the artifact store, collect garbage, forget a user')
    .description('the artifact store: everything that runs have made');
  const command = (name: string, summary: string, ...examples: string[]) =>
    store
      .command(name)
      .summary(summary)
      .description(summary)
      .option('--store <folder>', `the artifact store (default: ${STORE_FOLDER})`)
      .addOption(jsonOption())
      .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);

  command(
    'verify',
    'check every record and every blob; changes nothing',
    'softflow store verify',
    'softflow store verify --read-data',
    'softflow store verify --subset 3/7 --json',
  )
    .option('--read-data', 'hash the content of every blob as well')
    .option('--subset <n/t>', 'hash part n of t only, so that t calls read everything once')
    .addHelpText('after', '\nExit codes: 0 whole, 10 damaged, 11 missing, 12 unreadable, 13 not a store.')
    .action(
      run(async (options: VerifyCommandOptions) => {
        const { verify } = await import('./commands/store.ts');
        return verify(options, terminal);
      }),
    );

  command(
    'gc',
    'remove what nothing refers to, in two phases; safe beside running work',
    'softflow store gc --dry-run',
    'softflow store gc',
    'softflow store gc --grace 7d --json',
  )
    .option('--dry-run', 'say what would be done and do nothing')
    .option('--grace <duration>', 'how long a thing must lie unused in each phase; longer than any step takes', '24h')
    .action(
      run(async (options: GcCommandOptions) => {
        const { gc } = await import('./commands/store.ts');
        return gc(options, terminal);
      }),
    );

  command(
    'forget',
    'remove a user: their rows, and everything that was made or trained from them',
    'softflow store forget --user 42 --dry-run',
    'softflow store forget --user 42 --yes',
  )
    .requiredOption('--user <id>', 'the user id as it stands in the data')
    .option('--dry-run', 'say what would be forgotten and do nothing')
    .option('--yes', 'do not ask')
    .action(
      run(async (options: ForgetCommandOptions) => {
        const { forget } = await import('./commands/store.ts');
        return forget(options, terminal);
      }),
    );
}
