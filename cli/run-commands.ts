import { Option } from 'commander';
import { STAGES } from '../workflows/run-state.ts';
import type { ResumeOptions, RunOptions } from './commands/run.ts';
import { collect, jsonOption, type Registry, setOption } from './register.ts';

/** A stage, which Tab completes, or a single step such as `sft-2-train`. */
function stepOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  // Not `choices()`, which would refuse single steps.
  option.argChoices = [...STAGES];
  return option;
}
const untilOption = () =>
  stepOption('--until <step>', 'stop once this stage or step (sft-2-train) is done; resume goes on from there');

/** Commands that start runs, show them and steer them. */
export function addRunCommands({ command, run, terminal }: Registry): void {
  command(
    'run <recipe>',
    'run a recipe and show it live; Ctrl-C detaches and the run goes on',
    'softflow run recipes/demo.yaml',
    'softflow run my.yaml -s soft.curriculumAlpha=10 --name my-run --tag nightly',
    'softflow run my.yaml --until self-distil',
    'softflow run my.yaml --detach --json',
  )
    .addOption(setOption())
    .option('--name <name>', 'name of the run; its id begins with it')
    .addOption(new Option('--tag <tag>', 'tag the run; may be given many times').argParser(collect).default([], 'none'))
    .addOption(untilOption())
    .option('--detach', 'start the run and return')
    .addOption(jsonOption())
    .action(
      run(async (recipe: string, options: RunOptions) => {
        const commands = await import('./commands/run.ts');
        return commands.run(recipe, options, terminal);
      }),
    );

  command(
    'resume <run>',
    'take up a run or sweep that was paused, stopped or has failed, from its last checkpoint',
    'softflow resume latest',
    'softflow resume demo-3f2a --detach',
    'softflow resume latest --until sft',
    'softflow resume latest --from curriculum',
    'softflow resume latest --from soft-2-train --until soft-2-validate',
  )
    .addOption(
      stepOption(
        '--from <step>',
        'compute this stage or step (sft-2-train) and every later one once more; what was there is kept',
      ),
    )
    .addOption(untilOption())
    .option('--detach', 'resume the run and return')
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: ResumeOptions) => {
        const { resume } = await import('./commands/run.ts');
        return resume(name, options, terminal);
      }),
    );

  command(
    'watch <runs...>',
    'show runs, or a sweep, live; Ctrl-C stops watching only',
    'softflow watch latest',
    'softflow watch demo-3f2a demo-91bc',
    'softflow watch demo-3f2a --json',
  )
    .addOption(jsonOption())
    .action(
      run(async (names: string[], options: { json?: boolean }) => {
        const { watch } = await import('./commands/run.ts');
        return watch(names, options, terminal);
      }),
    );

  command('status <run>', 'where a run or sweep stands', 'softflow status latest', 'softflow status demo-3f2a --json')
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: { json?: boolean }) => {
        const { status } = await import('./commands/runs.ts');
        return status(name, options, terminal);
      }),
    );

  command('list', 'the runs and sweeps of this folder, newest first', 'softflow list', 'softflow list --all --json')
    .option('--all', 'more than the newest 20')
    .addOption(jsonOption())
    .action(
      run(async (options: { all?: boolean; json?: boolean }) => {
        const { list } = await import('./commands/runs.ts');
        return list(options, terminal);
      }),
    );

  command('pause <run>', 'hold a run or sweep at its next micro-batch or tile', 'softflow pause latest')
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: { json?: boolean }) => {
        const { pause } = await import('./commands/runs.ts');
        return pause(name, options, terminal);
      }),
    );

  command(
    'stop <run>',
    'end a run or sweep; it can be resumed',
    'softflow stop latest',
    'softflow stop latest --after round',
  )
    .addOption(new Option('--after <border>', 'where to end').choices(['now', 'round']).default('now'))
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: { after: 'now' | 'round'; json?: boolean }) => {
        const { stop } = await import('./commands/runs.ts');
        return stop(name, options, terminal);
      }),
    );

  command(
    'set <run> <key=value>',
    'change the pace of the curriculum of a running run',
    'softflow set latest curriculumAlpha=10',
  )
    .addOption(jsonOption())
    .action(
      run(async (name: string, assignment: string, options: { json?: boolean }) => {
        const { set } = await import('./commands/runs.ts');
        return set(name, assignment, options, terminal);
      }),
    );
}
