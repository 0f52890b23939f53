import { InvalidArgumentError, Option } from 'commander';
import { BACKEND_CHOICES } from '../workers/backend-choices.ts';
import type { CompareOptions } from './commands/compare.ts';
import type { ExportCommandOptions } from './commands/export.ts';
import type { RecommendCommandOptions } from './commands/recommend.ts';
import { jsonOption, type Registry } from './register.ts';

/** Commands about what runs have made. */
export function addResultCommands(group: Registry): void {
  addReport(group);
  addCompare(group);
  addRecommend(group);
  addExport(group);
}

function addReport({ command, run, terminal }: Registry): void {
  command(
    'report <run>',
    'the results of a finished run: its table, what it says, and the files to forward',
    'softflow report latest',
    'softflow report demo-3f2a --json',
  )
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: { json?: boolean }) => {
        const { report } = await import('./commands/report.ts');
        return report(name, options, terminal);
      }),
    );
}

function addCompare({ command, run, terminal }: Registry): void {
  command(
    'compare <first> <others...>',
    'finished runs on the same windows, each against the first: settings, metrics with intervals, slices',
    'softflow compare demo-3f2a latest',
    'softflow compare demo-3f2a demo-91bc --k 20 --json',
    'softflow compare champion-3f2a tried-91bc tried-07cd',
  )
    .addOption(new Option('--k <k>', 'cut-off of HR and NDCG (default: 10 where it was measured)').argParser(count))
    .addOption(jsonOption())
    .action(
      run(async (first: string, others: string[], options: CompareOptions) => {
        const { compare } = await import('./commands/compare.ts');
        return compare(first, others, options, terminal);
      }),
    );
}

function addRecommend({ command, run, terminal }: Registry): void {
  command(
    'recommend',
    'the top items with scores for the histories of a file, by the model of a finished run',
    'softflow recommend --run latest --users histories.csv -k 20 -o recs.parquet',
    'softflow recommend --run demo-3f2a --users new.parquet -o recs.csv --exclude-history --json',
  )
    .requiredOption('--run <run>', 'run id, the unique beginning of one, or latest')
    .requiredOption('--users <file>', 'histories, one row an interaction: .csv, .tsv, .parquet, .jsonl, .arrow')
    .requiredOption('-o, --output <file>', 'file to write: .csv, .parquet or .arrow')
    .addOption(new Option('-k <k>', 'items a user').argParser(count).default(20))
    .option('--columns <names>', 'user=<name>,item=<name>,time=<name> (default: guessed)')
    .option('--exclude-history', "leave out the titles of a user's own history")
    .addOption(new Option('--backend <name>', 'what computes').choices(BACKEND_CHOICES).default('auto'))
    .addOption(jsonOption())
    .action(
      run(async (options: RecommendCommandOptions) => {
        const { recommend } = await import('./commands/recommend.ts');
        return recommend(options, terminal);
      }),
    );
}

function addExport({ command, run, terminal }: Registry): void {
  command(
    'export <run>',
    'write what a finished run made into a folder: adapter, merged model, recommendations or embeddings',
    'softflow export latest --format peft -o adapter',
    'softflow export demo-3f2a --format merged --verify -o model',
    'softflow export demo-3f2a --format topk -k 50 -o recs --json',
  )
    .addOption(
      new Option('--format <format>', 'what to write')
        .choices(['peft', 'merged', 'topk', 'embeddings'])
        .makeOptionMandatory(),
    )
    .requiredOption('-o, --output <folder>', 'a new or empty folder')
    .option('--verify', 'read it back; a merged model is compared with base + adapter on real prompts')
    .addOption(new Option('-k <k>', 'of topk: items a user').argParser(count).default(20))
    .addOption(new Option('--backend <name>', 'what computes').choices(BACKEND_CHOICES).default('auto'))
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: ExportCommandOptions) => {
        const { exportResults } = await import('./commands/export.ts');
        return exportResults(name, options, terminal);
      }),
    );
}

/** A whole number of 1 or more. */
function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError('Expected a whole number of 1 or more.');
}
