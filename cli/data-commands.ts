import type { InspectOptions } from './commands/data.ts';
import type { PrepareOptions } from './commands/data-prepare.ts';
import { jsonOption, type Registry, setOption } from './register.ts';

/** Commands about data files, before any run. */
export function addDataCommands({ program, run, terminal }: Registry): void {
  const data = program
    .command('data')
    .description('look at data files before a run, convert them, and prepare the data of a recipe')
    .summary('look at data, convert and prepare it');
  data
    .command('inspect <file>')
    .description('guess format and columns, count, check for leaks, and print the mapping to paste into a recipe')
    .option('--items <file>', 'the file of titles (default: found beside RecBole and MovieLens files)')
    .addOption(jsonOption())
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
    .command('prepare <file>')
    .description(
      'prepare the data of a recipe, or a data file, as a run would, without training: counts, a split hash, tables to look at',
    )
    .option('--items <file>', 'the file of titles, beside a data file')
    .option('-o, --output <folder>', 'also write the tables there, as Arrow files; a new or empty folder')
    .addOption(setOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nExamples:\n  $ softflow data prepare my.yaml\n  $ softflow data prepare interactions.csv --items items.csv\n  $ softflow data prepare my.yaml -s data.kCore=10 -o prepared',
    )
    .action(
      run(async (file: string, options: PrepareOptions) => {
        const { prepare } = await import('./commands/data-prepare.ts');
        return prepare(file, options, terminal);
      }),
    );
  data
    .command('convert <file>')
    .description('write a data file of any format that inspect knows as CSV with the column names that recipes expect')
    .requiredOption('-o, --output <file>', 'file to write, .csv')
    .addOption(jsonOption())
    .addHelpText('after', '\nExamples:\n  $ softflow data convert ml-1m/ratings.dat -o interactions.csv')
    .action(
      run(async (file: string, options: { output: string; json?: boolean }) => {
        const { convert } = await import('./commands/data.ts');
        return convert(file, options, terminal);
      }),
    );
}
