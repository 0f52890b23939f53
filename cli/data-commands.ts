import { Option } from 'commander';
import type { InspectOptions } from './commands/data.ts';
import type { Registry } from './register.ts';

const json = () => new Option('--json', 'machine-readable output');

/** Commands about data files, before any run. */
export function addDataCommands({ program, run, terminal }: Registry): void {
  const data = program
    .command('data')
    .description('look at data files before a run, and convert them')
    .summary('look at data files, convert them');
  data
    .command('inspect <file>')
    .description('guess format and columns, count, check for leaks, and print the mapping to paste into a recipe')
    .option('--items <file>', 'the file of titles (default: found beside RecBole and MovieLens files)')
    .addOption(json())
    .addHelpText(
      'after',
      '\nExamples:\n  $ softflow data inspect interactions.csv --items items.csv\n  $ softflow data inspect ml-100k/u.data --json',
    )
    .action(
      run(async (file: string, options: InspectOptions) => {
        const { inspect } = await import('./commands/data.ts');
        return inspect(file, options, terminal);
      }),
    );
  data
    .command('convert <file>')
    .description('write a data file of any format that inspect knows as CSV with the column names that recipes expect')
    .requiredOption('-o, --output <file>', 'file to write, .csv')
    .addOption(json())
    .addHelpText('after', '\nExamples:\n  $ softflow data convert ml-1m/ratings.dat -o interactions.csv')
    .action(
      run(async (file: string, options: { output: string; json?: boolean }) => {
        const { convert } = await import('./commands/data.ts');
        return convert(file, options, terminal);
      }),
    );
}
