import { existsSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { nextCommands } from '../report/findings.ts';
import type { RunSummary } from '../report/summary-types.ts';
import { renderTerminalTable } from '../report/terminal-table.ts';
import type { RunStatus } from '../workflows/run-state.ts';
import { EXIT } from './exit-codes.ts';
import { oneLine, sanitize, type Terminal } from './terminal.ts';

/** What people want of a run's folder, in the order in which they want it. */
const FILES = ['report.html', 'metrics.json', 'adapter', 'run.json', 'telemetry.json'];

/** Exit code of a command that waited for a run: whether it came as far as it was to. */
export const exitCodeOfRun = (status: RunStatus): number =>
  status.phase === 'completed' || stoppedAsAsked(status) ? EXIT.ok : EXIT.failed;

const stoppedAsAsked = ({ phase, lastStep }: RunStatus): boolean => phase === 'stopped' && lastStep?.reached === true;

export interface Written {
  /** The run's folder. */
  folder: string;
  /** What the person ran, e.g. `recipes/demo.yaml`. */
  recipe?: string;
}

/** How a run ended: its table, what it wrote, what to try next; for a failed one the error and the way on. */
export function printEnd(status: RunStatus, written: Written, terminal: Terminal): void {
  if (status.phase === 'completed') {
    terminal.out('');
    printCompleted(status, written, terminal);
  } else printUnfinished(status, terminal);
}

function printUnfinished(status: RunStatus, terminal: Terminal): void {
  const { runId, phase, error, lastStep } = status;
  const id = oneLine(runId, 80);
  if (lastStep && stoppedAsAsked(status)) {
    terminal.out(`${id}: stopped after ${oneLine(lastStep.id, 80)}, as asked. Next: softflow resume ${id}`);
    return;
  }
  if (phase === 'failed') {
    const { code, message } = error ?? { code: 'FAILED', message: 'The run failed.' };
    terminal.err(`${terminal.paint.red('error')} ${sanitize(code)}: ${sanitize(message)}`);
  }
  terminal.err(`${id}: ${phase}. Everything done so far is kept. Next: softflow resume ${id}`);
}

/** The results of a completed run and where they lie. */
export function printCompleted(status: RunStatus, written: Written, terminal: Terminal): void {
  const summary = readSummary(written);
  if (summary)
    terminal.out(renderTerminalTable(summary, { width: terminal.columns, color: terminal.paint.bold('') !== '' }));
  const reused = reusedSentence(status);
  if (reused) terminal.out(reused);
  terminal.out('Written:');
  for (const path of FILES.map((file) => join(written.folder, file)))
    if (existsSync(path)) terminal.out(`  ${relative(process.cwd(), path)}`);
}

/** `Every step was reused ...` when nothing was computed; undefined when nothing was reused. */
export function reusedSentence({ steps }: RunStatus): string | undefined {
  const own = steps.filter((step) => step.step !== 'renderReport');
  const reused = own.filter((step) => step.state === 'reused').length;
  if (reused === 0) return undefined;
  if (reused === own.length) return 'Every step was reused from an earlier run; nothing was computed again.';
  return `${reused} of ${own.length} steps were reused from earlier runs.`;
}

/** The summary with the commands to try next, which name the recipe that only this machine knows. */
function readSummary({ folder, recipe }: Written): RunSummary | undefined {
  const file = join(folder, 'summary.json');
  if (!existsSync(file)) return undefined;
  const summary = JSON.parse(readFileSync(file, 'utf8')) as RunSummary;
  return recipe === undefined ? summary : { ...summary, nextCommands: nextCommands({ ...summary, recipe }) };
}
