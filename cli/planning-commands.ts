import { jsonOption, type Registry, setOption } from './register.ts';

/** Commands around a run: what comes before it and what it has said. */
export function registerPlanning({ command, run, terminal }: Registry): void {
  command(
    'plan <recipe>',
    'what a run would reuse, resume and run, why, and what it takes; computes nothing of it',
    'softflow plan recipes/demo.yaml',
    'softflow plan my.yaml -s data.kCore=10',
    'softflow plan my.yaml -s cost.perHour=2.5 --json',
  )
    .addOption(setOption())
    .addOption(jsonOption())
    .action(
      run(async (recipe: string, options: { set: string[]; json?: boolean }) => {
        const { plan } = await import('./commands/plan.ts');
        return plan(recipe, options, terminal);
      }),
    );
}
