import { Command, CommanderError } from 'commander';
import { SoftflowError } from '../errors.ts';
import { packageVersion } from '../setup/paths.ts';
import { traceCommand } from './command-trace.ts';
import type { UiCommandOptions } from './commands/ui.ts';
import { addDataCommands } from './data-commands.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { registerPlanning } from './planning-commands.ts';
import { jsonOption, type Registry, setOption } from './register.ts';
import { registerReleases } from './release-commands.ts';
import { addResultCommands } from './result-commands.ts';
import { addRunCommands } from './run-commands.ts';
import { registerSchedules } from './schedule-commands.ts';
import { registerSecurity } from './security-commands.ts';
import { addStoreCommands } from './store-commands.ts';
import { registerSweep } from './sweep-commands.ts';
import { openTerminal, sanitize, type Terminal } from './terminal.ts';
import { registerWorkers } from './worker-commands.ts';

/** Runs a command and returns its exit code; what the command needs is loaded only once it is chosen. */
export async function runCli(argv: readonly string[], terminal: Terminal = openTerminal()): Promise<number> {
  const endTrace = await traceCommand(argv);
  const code = await parseAndRun(argv, terminal);
  await endTrace(code);
  return code;
}

async function parseAndRun(argv: readonly string[], terminal: Terminal): Promise<number> {
  let code: number = EXIT.ok;
  const program = buildProgram(terminal, (result) => {
    code = result;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    printError(error, terminal);
    return exitCodeOf(error);
  }
}

/** `error CODE: message`, on stderr; the stack only with SOFTFLOW_DEBUG. */
export function printError(error: unknown, terminal: Terminal): void {
  const code = error instanceof SoftflowError ? error.code : 'UNEXPECTED';
  const message = error instanceof Error ? error.message : String(error);
  terminal.err(`${terminal.paint.red('error')} ${code}: ${sanitize(message)}`);
  if (process.env['SOFTFLOW_DEBUG'] && error instanceof Error) terminal.err(sanitize(error.stack ?? ''));
  else if (!(error instanceof SoftflowError)) terminal.err('Set SOFTFLOW_DEBUG=1 to see where it happened.');
}

/** Every command with its options; `setCode` is told how the one that was chosen ended. */
export function buildProgram(terminal: Terminal, setCode: (code: number) => void = () => {}): Command {
  const program = new Command('softflow')
    .description('SOFT (Self-Optimized Fine-Tuning) for LLM-based recommenders as durable workflows with exact resume.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .showSuggestionAfterError()
    .showHelpAfterError('Run the command with --help to see what it takes.')
    .configureOutput({
      writeOut: (text) => terminal.raw(text),
      writeErr: (text) => terminal.err(text.trimEnd()),
      getOutHelpWidth: () => Math.min(terminal.columns, 100),
      getErrHelpWidth: () => 100,
      outputError: (text, write) => write(text.replace(/^error:/, `${terminal.paint.red('error')} USAGE:`)),
    })
    .configureHelp({
      subcommandTerm: (command) => `${command.name()} ${command.usage().replace(/^\[options\] ?/, '')}`.trimEnd(),
    })
    .exitOverride();
  const registry: Registry = {
    program,
    terminal,
    command: (signature, summary, ...examples) =>
      program
        .command(signature)
        .summary(summary)
        .description(summary)
        .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`),
    run:
      (action) =>
      async (...args) =>
        setCode(await action(...(args as never[]))),
  };
  registerPlanning(registry);
  addCommands(registry);
  registerSweep(registry);
  registerReleases(registry);
  registerSecurity(registry);
  groupCommands(program);
  // After the groups of commands, which would inherit its place in the help.
  program.addHelpCommand(helpCommand());
  program.addHelpText('after', `\n${EXIT_CODES}`);
  return program;
}

const EXIT_CODES =
  'Exit codes: 0 ok, 1 failed, 2 usage or config, 3 will not fit, 4 not promoted, 10 to 13 store findings, 130 detached (the run goes on).';

const helpCommand = () =>
  new Command('help')
    .argument('[command]')
    .description('the options and examples of a command')
    .helpOption(false)
    .helpGroup('Begin:');

/** The commands as help shows them: in the order in which people come to need them. */
const GROUPS: Record<string, string[]> = {
  'Begin:': ['init', 'validate', 'plan', 'config', 'data', 'doctor', 'demo'],
  'Runs:': ['run', 'watch', 'status', 'list', 'logs', 'pause', 'resume', 'stop', 'set', 'sweep'],
  'Results:': ['report', 'compare', 'recommend', 'export', 'ui'],
  'Retraining and releases:': ['schedule', 'promote', 'reject', 'releases', 'rollback'],
  'Store, server and workers:': ['store', 'dev', 'worker', 'builds', 'codec-server', 'completion'],
};

function groupCommands({ commands }: Command): void {
  const order = Object.values(GROUPS).flat();
  (commands as Command[]).sort((a, b) => order.indexOf(a.name()) - order.indexOf(b.name()));
  for (const [heading, names] of Object.entries(GROUPS))
    for (const command of commands) if (names.includes(command.name())) command.helpGroup(heading);
}

function addCommands({ program, command, run, terminal }: Registry): void {
  addRunCommands({ program, terminal, command, run });
  registerSchedules({ program, terminal, command, run });
  addResultCommands({ program, terminal, command, run });
  addDataCommands({ program, terminal, command, run });
  addStoreCommands({ program, terminal, command, run });

  command(
    'validate <recipe>',
    'check a recipe and report every fault with its place',
    'softflow validate recipes/demo.yaml',
    'softflow validate my.yaml -s train.maxEpochs=3',
  )
    .addOption(setOption())
    .addOption(jsonOption())
    .action(
      run(async (recipe: string, options: { set: string[]; json?: boolean }) => {
        const { validate } = await import('./commands/config.ts');
        return validate(recipe, options, terminal);
      }),
    );

  const config = program
    .command('config')
    .description('the schema of a recipe, or a recipe with every default filled in')
    .summary('schema and resolved recipe');
  config
    .command('schema')
    .description('print the JSON Schema of a recipe, for editors')
    .option('--markdown', 'as tables for people: every field, its values, default and meaning')
    .addHelpText('after', '\nExamples:\n  $ softflow config schema > softflow.schema.json')
    .action(
      run(async (options: { markdown?: boolean }) => {
        const { showSchema } = await import('./commands/config.ts');
        return showSchema(options, terminal);
      }),
    );
  config
    .command('show <recipe>')
    .description('print the recipe with every default filled in and every path resolved')
    .addOption(setOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nExamples:\n  $ softflow config show recipes/demo.yaml\n  $ softflow config show my.yaml -s seed=7 --json',
    )
    .action(
      run(async (recipe: string, options: { set: string[]; json?: boolean }) => {
        const { showConfig } = await import('./commands/config.ts');
        return showConfig(recipe, options, terminal);
      }),
    );

  command(
    'doctor',
    'try everything a run needs and say what to do about trouble',
    'softflow doctor',
    'softflow doctor --json',
  )
    .addOption(jsonOption())
    .action(
      run(async (options: { json?: boolean }) => {
        const { doctor } = await import('./commands/doctor.ts');
        return doctor(options, terminal);
      }),
    );

  command(
    'ui',
    'a page about the runs of this folder, read only',
    'softflow ui',
    'softflow ui --port 0 --json',
    'softflow ui --host 192.168.1.20',
  )
    .option('--port <port>', 'port to listen on; 0 takes a free one', '8470')
    .option('--host <address>', 'address to listen on; there is no password, so choose with care', '127.0.0.1')
    .addOption(jsonOption())
    .action(
      run(async (options: UiCommandOptions) => {
        const { ui } = await import('./commands/ui.ts');
        return ui(options, terminal);
      }),
    );

  registerWorkers({ program, terminal, command, run });

  command(
    'dev [action]',
    'the embedded Temporal server and workers: start, stop or status',
    'softflow dev start',
    'softflow dev status --json',
    'softflow dev stop',
  )
    .addOption(jsonOption())
    .action(
      run(async (action: string | undefined, options: { json?: boolean }) => {
        const { dev } = await import('./commands/dev.ts');
        return dev(action ?? 'status', options, terminal);
      }),
    );
}
