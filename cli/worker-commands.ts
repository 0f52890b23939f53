import { Option } from 'commander';
import { BACKEND_CHOICES } from '../workers/backend-choices.ts';
import type { BuildsOptions } from './commands/builds.ts';
import type { WorkerCommandOptions } from './commands/worker.ts';
import { jsonOption, type Registry } from './register.ts';

const deploymentOption = () =>
  new Option('--deployment <name>', "name of Temporal's worker deployment").default('softflow');

/** Commands about workers against a server of your own. */
export function registerWorkers({ command, run, terminal }: Registry): void {
  command(
    'worker',
    'serve task queues until SIGTERM or Ctrl-C',
    'softflow worker',
    'softflow worker --queues gpu --backend auto --max-vram 20GiB',
    'softflow worker --queues workflow,cpu --health-port 8080 --health-host 0.0.0.0',
    'softflow worker --queues workflow --build-id 0.2.0',
  )
    .option('--queues <kinds>', 'which queues: workflow, cpu, gpu', 'workflow,cpu,gpu')
    .option('--task-queue <name>', 'base name of the queues (default: softflow)')
    .addOption(new Option('--backend <name>', 'what computes').choices(BACKEND_CHOICES).default('auto'))
    .addOption(
      new Option(
        '--max-vram <size>',
        "most of a GPU's memory that tensor steps may use: 20GiB (default: all of it)",
      ).env('SOFTFLOW_MAX_VRAM'),
    )
    .option('--store <folder>', 'the artifact store (default: .softflow/store)')
    .option(
      '--health-port <port>',
      'answer probes and Prometheus there: /healthz, /readyz, /metrics; 0 takes a free port',
    )
    .option('--health-host <address>', 'address for probes and Prometheus', '127.0.0.1')
    .addOption(
      new Option('--build-id <id>', 'serve workflows as this build: a run ends with the build it began with').env(
        'SOFTFLOW_BUILD_ID',
      ),
    )
    .addOption(deploymentOption())
    .action(
      run(async (options: WorkerCommandOptions) => {
        const { worker } = await import('./commands/worker.ts');
        return worker(options, terminal);
      }),
    );

  command(
    'builds [build-id]',
    'the builds that workers serve workflows as; with an id, new runs begin with that one',
    'softflow builds',
    'softflow builds 0.2.0',
    'softflow builds --json',
  )
    .addOption(deploymentOption())
    .addOption(jsonOption())
    .action(
      run(async (buildId: string | undefined, options: BuildsOptions) => {
        const { builds } = await import('./commands/builds.ts');
        return builds(buildId, options, terminal);
      }),
    );
}
