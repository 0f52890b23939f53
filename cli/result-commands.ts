import { InvalidArgumentError, Option } from 'commander';
import type { CommandGroup } from './command-group.ts';
import type { CompareOptions } from './commands/compare.ts';

/** Commands about what runs have made. */
export function addResultCommands({ command, run, terminal }: CommandGroup): void {
  command(
    'compare <first> <second>',
    'two finished runs on the same windows: settings, metrics with intervals, slices',
    'softflow compare demo-3f2a latest',
    'softflow compare demo-3f2a demo-91bc --k 20 --json',
  )
    .addOption(new Option('--k <k>', 'cut-off of HR and NDCG (default: 10 where it was measured)').argParser(count))
    .addOption(new Option('--json', 'machine-readable output'))
    .action(
      run(async (first: string, second: string, options: CompareOptions) => {
        const { compare } = await import('./commands/compare.ts');
        return compare(first, second, options, terminal);
      }),
    );
}

/** A whole number of 1 or more. */
function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError('Expected a whole number of 1 or more.');
}
