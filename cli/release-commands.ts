import type { PromoteOptions, ReleasesOptions, RollbackOptions } from './commands/releases.ts';
import { jsonOption, type Registry } from './register.ts';

/** Commands about the release that is current. */
export function registerReleases({ command, run, terminal }: Registry): void {
  command(
    'promote <run>',
    'make a finished run current if it beats the champion by the rule of its recipe',
    'softflow promote latest',
    'softflow promote nightly-3f2a --reason "reviewed by hand"',
    'softflow promote nightly-3f2a --force --reason "the rule is too strict for this data"',
  )
    .option('--reason <text>', 'why, for the audit table')
    .option('--force', 'pass over the rule')
    .addOption(jsonOption())
    .addHelpText('after', '\nExit codes: 0 the run is current, 4 it does not pass the rule and the champion stays.')
    .action(
      run(async (name: string, options: PromoteOptions) => {
        const { promote } = await import('./commands/releases.ts');
        return promote(name, options, terminal);
      }),
    );

  command(
    'reject <run>',
    'say no to a run that waits to become current, or may ask later',
    'softflow reject nightly-3f2a --reason "answers repeat themselves"',
  )
    .requiredOption('--reason <text>', 'why, for the audit table')
    .addOption(jsonOption())
    .action(
      run(async (name: string, options: { reason: string; json?: boolean }) => {
        const { reject } = await import('./commands/releases.ts');
        return reject(name, options, terminal);
      }),
    );

  command(
    'rollback',
    'go back to the release before the current one, or to an earlier one',
    'softflow rollback --reason "complaints since Tuesday"',
    'softflow rollback --to nightly-3f2a',
  )
    .option('--to <release>', 'a release that was current once: its key, the beginning of it, or its run')
    .option('--reason <text>', 'why, for the audit table')
    .addOption(jsonOption())
    .action(
      run(async (options: RollbackOptions) => {
        const { rollback } = await import('./commands/releases.ts');
        return rollback(options, terminal);
      }),
    );

  command(
    'releases',
    'the runs that can be current, which one is, and who decided what',
    'softflow releases',
    'softflow releases --audit',
    'softflow releases --json',
  )
    .option('--audit', 'every promotion, rollback and decision, oldest first')
    .addOption(jsonOption())
    .action(
      run(async (options: ReleasesOptions) => {
        const { releases } = await import('./commands/releases.ts');
        return releases(options, terminal);
      }),
    );
}
