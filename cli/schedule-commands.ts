import { type Command, Option } from 'commander';
import { jsonOption, type Registry, setOption } from './register.ts';
import { gridOptions } from './sweep-commands.ts';

/** The words of `client/schedule-spec.ts`, which is loaded only by the command that needs it. */
const OVERLAPS = ['skip', 'buffer-one', 'buffer-all', 'cancel-other', 'terminate-other', 'allow-all'];

const overlapOption = (text: string) => new Option('--overlap <policy>', text).choices(OVERLAPS);

/** Commands about periodic retraining. */
export function registerSchedules({ program, run, terminal }: Registry): void {
  const schedule = program
    .command('schedule')
    .summary('retrain periodically: create, list, describe, pause, trigger, backfill ...')
    .description('periodic retraining: Temporal Schedules that start the retrain of a recipe');
  const command = (signature: string, summary: string, ...examples: string[]) =>
    schedule
      .command(signature)
      .summary(summary)
      .description(summary)
      .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);
  const action = (name: keyof typeof import('./commands/schedule.ts')) =>
    run(async (...args: never[]) => {
      const commands = await import('./commands/schedule.ts');
      const perform = commands[name] as (...all: unknown[]) => Promise<number>;
      // Commander adds the command itself as the last argument.
      return perform(...args.slice(0, -1), terminal);
    });

  gridOptions(
    timesAndPolicies(
      command(
        'create <name> <recipe>',
        'retrain a recipe at these times; --cron or --every',
        'softflow schedule create nightly recipes/nightly.yaml --cron "0 3 * * *" --tz Europe/Berlin --pause-on-failure',
        'softflow schedule create hourly my.yaml --every 1h --overlap buffer-one --catchup 30m',
        'softflow schedule create weekly my.yaml --every 7d --grid soft.curriculumAlpha=0.1,1,10 --budget 12h',
      ),
    ),
  )
    .addOption(setOption())
    .addOption(jsonOption())
    .action(action('create'));

  gridOptions(
    timesAndPolicies(
      command(
        'update <name> [recipe]',
        'change what is given and leave the rest; name the recipe again after you have changed it',
        'softflow schedule update nightly --cron "30 2 * * *"',
        'softflow schedule update nightly recipes/nightly.yaml',
      ),
    ),
  )
    .option('--no-pause-on-failure', 'go on after a retrain that failed')
    .option('--no-sweep', 'train one run again instead of a sweep')
    .addOption(setOption())
    .addOption(jsonOption())
    .action(action('update'));

  command('list', 'the schedules of this server', 'softflow schedule list', 'softflow schedule list --json')
    .addOption(jsonOption())
    .action(action('list'));
  command(
    'describe <name>',
    'next times, last retrains and what became of them',
    'softflow schedule describe nightly',
    'softflow schedule describe nightly --json',
  )
    .addOption(jsonOption())
    .action(action('describe'));
  command('pause <name>', 'start nothing more', 'softflow schedule pause nightly --note "new catalogue on Friday"')
    .option('--note <text>', 'why')
    .addOption(jsonOption())
    .action(action('pause'));
  command('unpause <name>', 'start again at its times', 'softflow schedule unpause nightly')
    .option('--note <text>', 'why')
    .addOption(jsonOption())
    .action(action('unpause'));
  command('trigger <name>', 'retrain once now, on the data as of now', 'softflow schedule trigger nightly')
    .addOption(overlapOption("what happens while another retrain is at work (default: the schedule's own)"))
    .addOption(jsonOption())
    .action(action('trigger'));
  command(
    'backfill <name>',
    'every retrain that the schedule would have made in a span, each with the data of its day',
    'softflow schedule backfill nightly --from 2026-11-01 --to 2026-11-08',
  )
    .requiredOption('--from <time>', 'a date or an RFC 3339 instant')
    .requiredOption('--to <time>', 'a date or an RFC 3339 instant')
    .addOption(overlapOption('one after another by default').default('buffer-all'))
    .addOption(jsonOption())
    .action(action('backfill'));
  command('delete <name>', 'remove the schedule; what it has started goes on', 'softflow schedule delete nightly')
    .addOption(jsonOption())
    .action(action('remove'));
}

function timesAndPolicies(command: Command): Command {
  return command
    .option('--cron <fields>', 'minute hour day month weekday: "0 3 * * *"')
    .option('--every <duration>', 'an interval instead: 6h')
    .option('--tz <zone>', 'time zone of --cron: Europe/Berlin (default: UTC)')
    .addOption(overlapOption('what happens to a start while an earlier retrain is at work (default: skip)'))
    .option('--catchup <duration>', 'how late a start that was missed is made up for (default: 6h)')
    .option('--pause-on-failure', 'pause the schedule when a retrain fails');
}
