import { Option } from 'commander';
import type { DemoOptions } from './commands/demo.ts';
import type { InitOptions } from './commands/init.ts';
import type { LogsOptions } from './commands/logs.ts';
import type { PlanOptions } from './commands/plan.ts';
import { collect, jsonOption, type Registry, setOption } from './register.ts';
import { gridOptions } from './sweep-commands.ts';

/** Commands around a run: what comes before it and what it has said. */
export function registerPlanning({ program, command, run, terminal }: Registry): void {
  command(
    'init [file]',
    'write a commented recipe, from a template or over your own data; overwrites nothing',
    'softflow init my.yaml --from interactions.csv --items items.csv',
    'softflow init my.yaml --from interactions.csv -s data.kCore=3 -s prompt.noun=books',
    'softflow init my.yaml',
    'softflow init big.yaml --template ml-100k',
  )
    .option('--from <data>', 'your interactions; format and columns are found out')
    .option('--items <data>', 'titles of the items, when they are in another file')
    .option('--template <name>', 'a recipe that comes with softflow (default: csv)')
    .addOption(
      new Option('-s, --set <key=value>', 'a field to write into it; may be given many times')
        .argParser(collect)
        .default([], 'none'),
    )
    .addOption(jsonOption())
    .action(
      run(async (file: string | undefined, options: InitOptions) => {
        const { init } = await import('./commands/init.ts');
        return init(file ?? 'softflow.yaml', options, terminal);
      }),
    );

  gridOptions(
    command(
      'plan <recipe>',
      'what a run or a sweep would reuse, resume and run, why, and what it takes; computes nothing of it',
      'softflow plan recipes/demo.yaml',
      'softflow plan my.yaml -s data.kCore=10',
      'softflow plan my.yaml -s cost.perHour=2.5 --json',
      'softflow plan my.yaml --grid soft.curriculumAlpha=0.1,1,10,100 --budget 6h',
    ),
  )
    .addOption(setOption())
    .addOption(jsonOption())
    .action(
      run(async (recipe: string, options: PlanOptions) => {
        const { plan } = await import('./commands/plan.ts');
        return plan(recipe, options, terminal);
      }),
    );

  command(
    'logs <run>',
    'what the embedded workers and trainers wrote for a run',
    'softflow logs latest',
    'softflow logs latest --step sft-2-train --follow',
    'softflow logs demo-3f2a --json',
  )
    .option('--step <id>', 'of one step only: its id in the run (sft-2-train) or its kind (trainEpoch)')
    .option('--follow', 'go on until the run has ended; Ctrl-C stops following only')
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: LogsOptions) => {
        const { logs } = await import('./commands/logs.ts');
        return logs(name, options, terminal);
      }),
    );

  command(
    'demo [recipe]',
    'the demo recipe; with --kill also killed at random moments, to the same bytes',
    'softflow demo',
    'softflow demo --kill',
    'softflow demo my.yaml --kill --kills 10',
  )
    .option('--kill', 'run it while worker and trainer are killed, and compare with an undisturbed run')
    .option('--kills <count>', 'how often', '5')
    .addOption(setOption())
    .addOption(jsonOption())
    .action(
      run(async (recipe: string | undefined, options: DemoOptions) => {
        const { demo } = await import('./commands/demo.ts');
        return demo(recipe, options, terminal);
      }),
    );

  command(
    'completion <shell>',
    'the completion script of bash, zsh or fish: commands, options, run ids',
    'source <(softflow completion bash)   # in ~/.bashrc',
    'source <(softflow completion zsh)    # in ~/.zshrc, after compinit',
    'softflow completion fish | source    # in ~/.config/fish/config.fish',
  ).action(
    run(async (shell: string) => {
      const { completion } = await import('./commands/completion.ts');
      return completion(shell, program, terminal);
    }),
  );
}
