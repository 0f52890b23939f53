import { type Command, Option } from 'commander';
import type { SweepOptions } from './commands/sweep.ts';
import { collect, jsonOption, type Registry, setOption } from './register.ts';

/** How a grid is gone through. */
export function gridOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--grid <key=values>',
        'values of one field, with commas; may be given many times: every combination is run',
      )
        .argParser(collect)
        .default([], 'none'),
    )
    .option('--max-parallel <count>', 'how many runs of a grid are at work at the same time', '1')
    .option('--budget <time>', 'after so much time only the best run of the grid goes on, to its end: 6h')
    .option('--no-early-stop', 'let every run of the grid come to its end');
}

/** The command that tries a recipe with several settings. */
export function registerSweep({ command, run, terminal }: Registry): void {
  gridOptions(
    command(
      'sweep <recipe>',
      'run a recipe with every combination of a grid; what they have in common runs once, losers end early',
      'softflow sweep my.yaml --grid soft.curriculumAlpha=0.1,1,10,100 --max-parallel 2',
      'softflow sweep my.yaml --grid soft.curriculumAlpha=1,10 --grid train.learningRate=1e-4,3e-4 --budget 6h',
      "softflow sweep my.yaml --grid 'lora.targets=[q_proj,v_proj],[q_proj,k_proj,v_proj,o_proj]' --no-early-stop",
    ),
  )
    .addOption(setOption())
    .option('--name <name>', "name of the sweep; its id and its runs' ids begin with it")
    .addOption(
      new Option('--tag <tag>', 'tag the runs; may be given many times').argParser(collect).default([], 'none'),
    )
    .option('--detach', 'start the sweep and return')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nAfter rounds 2, 4, 8, ... and the last one, the runs that are worse on validation than the better half end.',
    )
    .action(
      run(async (recipe: string, options: SweepOptions) => {
        const { sweep } = await import('./commands/sweep.ts');
        return sweep(recipe, options, terminal);
      }),
    );
}
