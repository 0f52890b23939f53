import { setTimeout as sleep } from 'node:timers/promises';
import { suggest } from '../../client/suggest.ts';
import { SoftflowError } from '../../errors.ts';
import { devPaths } from '../../workers/dev-state.ts';
import type { LogLine } from '../../workers/log-lines.ts';
import { hasEnded, type StepStatus } from '../../workflows/run-state.ts';
import { untilCtrlC } from '../detach.ts';
import { EXIT } from '../exit-codes.ts';
import { RunLog } from '../run-log.ts';
import { openSession, type Session, STATE_FOLDER } from '../session.ts';
import { oneLine, type Terminal } from '../terminal.ts';
import { isAlive } from '../watch-run.ts';

export interface LogsOptions {
  step?: string;
  follow?: boolean;
  json?: boolean;
}

const POLL_MS = 500;

/** What the embedded workers and their trainers wrote for a run. */
export async function logs(name: string, options: LogsOptions, terminal: Terminal): Promise<number> {
  const session = await openSession({ server: 'if running' });
  try {
    const run = await session.runs.find(name);
    const { steps } = (await session.runs.look(run)).status;
    const step = options.step === undefined ? {} : { step: resolveStep(options.step, steps) };
    const log = new RunLog(devPaths(STATE_FOLDER).logs, { run, ...step });
    const labels = new Map(steps.flatMap(({ key, label }) => (key ? [[key, label] as const] : [])));
    const print = (lines: readonly LogLine[]) => {
      for (const line of lines) terminal.out(options.json ? JSON.stringify(line) : textOf(line, labels, terminal));
      return lines.length;
    };
    const printed = print(log.next());
    if (options.follow) await follow(session, run, () => print(log.next()));
    else if (printed === 0) terminal.err(`No log lines of ${run} in ${devPaths(STATE_FOLDER).logs}. ${OWN_WORKERS}`);
    return EXIT.ok;
  } finally {
    await session.close();
  }
}

const OWN_WORKERS = 'Workers that you start yourself log to their error output.';

/** Prints what is added until the run has ended, or until Ctrl-C; the run is not touched. */
async function follow(session: Session, run: string, print: () => number): Promise<void> {
  await untilCtrlC(async (signal) => {
    while (!signal.aborted) {
      const look = await session.runs.look(run);
      print();
      if (hasEnded(look.status) || !isAlive(look)) break;
      await sleep(POLL_MS, undefined, { signal }).catch(() => {});
    }
  });
}

/** `sft-2-train` stands for the key that it has in this run, `trainEpoch` for every step of that kind. */
function resolveStep(wanted: string, steps: readonly StepStatus[]): string {
  const found = steps.find(({ id }) => id === wanted);
  if (found) return found.key ?? wanted;
  if (steps.some(({ step }) => step === wanted)) return wanted;
  const names = [...new Set(steps.flatMap(({ id, step }) => [id, step]))];
  const near = suggest(wanted, names);
  throw new SoftflowError(
    'USAGE',
    `--step ${oneLine(wanted, 60)}: expected a step of the run${near ? `, did you mean "${near}"?` : `: ${names.join(', ')}.`}`,
  );
}

/** `14:03:22 SFT epoch 2: train (attempt 2)  trainEpoch begins`. */
function textOf(line: LogLine, labels: ReadonlyMap<string, string>, { paint }: Terminal): string {
  const { time, level, key, step = '', attempt = 1, message, error, source } = line;
  const label = `${(key && labels.get(key)) ?? step}${attempt > 1 ? ` (attempt ${attempt})` : ''}`;
  const text = oneLine(error === undefined ? message : `${message}: ${error}`, 2000);
  const shown = level === 'INFO' ? text : paint.yellow(`${level} ${text}`);
  const head = [time.slice(0, 19).replace('T', ' '), oneLine(label, 60), ...(source === 'trainer' ? ['trainer'] : [])];
  return `${head.filter(Boolean).join('  ')}  ${shown}`;
}
