import {
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  condition,
  isCancellation,
  proxyActivities,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import type { LongActivities } from '../activities/create-activities.ts';
import { SoftflowError } from '../errors.ts';
import { parseConfig } from './run-lifecycle.ts';
import { type Border, epochOf, type RunStatus } from './run-state.ts';
import type { softWorkflow } from './soft-workflow.ts';
import { sourceNames } from './step-params.ts';
import {
  concludedSweep,
  type Entry,
  handleSweepMessages,
  letGo,
  openSweep,
  recordSweep,
  type Sweep,
  steerAll,
  takePlace,
  watchBudget,
} from './sweep-lifecycle.ts';
import { lastSharedPart, PARTS_AFTER, PARTS_BEFORE } from './sweep-sharing.ts';
import { losersOf, ranked, type SweepInput, type SweepStatus, valueOfRounds } from './sweep-state.ts';
import { longActivityOptions } from './task-queues.ts';

/**
 * Runs a recipe once for each combination of a grid: what combinations have in common once, then all of them round by
 * round, the worse half of them ending at each rung. Which run ends where depends on what is measured alone, never on
 * which was faster, so a sweep that was disturbed has the same result. The run ids are `<sweep id>-1` and so on.
 */
export async function sweepWorkflow(input: SweepInput): Promise<SweepStatus> {
  const sweep = openSweep(input);
  handleSweepMessages(sweep);
  return concludedSweep(sweep, async () => {
    await recordSweep(sweep, true);
    await Promise.all([watchBudget(sweep), race(sweep)]);
  });
}

async function race(sweep: Sweep): Promise<void> {
  await findSources(sweep);
  await share(sweep, sweep.entries, PARTS_BEFORE);
  for (const rung of sweep.status.rungs) await climb(sweep, rung);
  await finish(sweep);
  sweep.status.phase = 'completed';
}

/** Data that grows is copied once, or the runs would not differ by their settings alone. */
async function findSources(sweep: Sweep): Promise<void> {
  const { input, sharesData, status } = sweep;
  if (!sharesData || sweep.sources) return;
  const { heartbeatTimeoutSeconds } = input;
  const options = longActivityOptions('cpu', workflowInfo().taskQueue, heartbeatTimeoutSeconds);
  const { resolveSources } = proxyActivities<LongActivities>(options);
  sweep.sources = await resolveSources({ ...sourceNames(parseConfig(input.config)), runId: status.sweepId });
}

/** Each of some parts that several runs have in common is done by the first of them, and waited for by the others. */
async function share(sweep: Sweep, entries: readonly Entry[], parts: readonly Border[]): Promise<void> {
  const doneParts = entries.map(() => 0);
  const awaited = entries.map((entry, i) =>
    entries.slice(0, i).map((before) => lastSharedPart(parts, before.config, entry.config) + 1),
  );
  await all(entries, async (entry, i) => {
    const own = parts.filter((_, part) => awaited.some((of) => of[i] === part + 1));
    for (const [j, part] of (awaited[i] as number[]).entries()) await condition(() => (doneParts[j] as number) >= part);
    try {
      for (const part of own) {
        await goOn(sweep, entry, part);
        doneParts[i] = parts.indexOf(part) + 1;
      }
    } finally {
      // Whoever waits for a run that goes on no more does that part on its own.
      doneParts[i] = parts.length;
    }
  });
}

/** Every run comes as far as the rung; then those end that are worse than the better half. */
async function climb(sweep: Sweep, rung: number): Promise<void> {
  const contenders = inRace(sweep);
  if (contenders.length < 2 || sweep.status.spent) return;
  await all(contenders, (entry) => goOn(sweep, entry, rung));
  if (sweep.status.spent) return;
  for (const loser of losersOf(inRace(sweep).map(({ status }) => status)))
    await letGo(entryOf(sweep, loser.runId), `not in the better half after round ${rung}`);
  await recordSweep(sweep);
}

/** Tests and releases what is left: all of it, or only the best once the budget is used up. */
async function finish(sweep: Sweep): Promise<void> {
  await share(sweep, inRace(sweep), PARTS_AFTER);
  await all(inRace(sweep), (entry) => goOn(sweep, entry));
  for (;;) {
    const { runs } = sweep.status;
    const best = ranked(runs.filter(({ phase }) => phase === 'completed'))[0];
    const [next] = ranked(inRace(sweep).map(({ status }) => status));
    if (best || !next) {
      sweep.status.best = best?.runId ?? null;
      for (const { status } of inRace(sweep)) await letGo(entryOf(sweep, status.runId), 'the budget is used up');
      if (best) return;
      throw noneCompleted(sweep);
    }
    await goOn(sweep, entryOf(sweep, next.runId), undefined, true);
  }
}

const inRace = ({ entries }: Sweep): Entry[] =>
  entries.filter(({ status: { phase } }) => phase === 'pending' || phase === 'waiting');
const entryOf = ({ entries }: Sweep, runId: string): Entry =>
  entries.find(({ status }) => status.runId === runId) as Entry;

/** As `Promise.all`, but nothing is left at work when one of them ends with an error. */
async function all<T>(items: readonly T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  const results = await Promise.allSettled(items.map(work));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** Lets a run go on as far as a border, or to its end; once the budget is used up only where that is said. */
async function goOn(sweep: Sweep, entry: Entry, until?: Border, beyondBudget = false): Promise<void> {
  const { status, last } = entry;
  const mayGo = () => beyondBudget || !sweep.status.spent;
  if (!mayGo() || isPast(last, until)) return;
  await takePlace(sweep);
  try {
    // A place may have become free because the budget was used up.
    if (!mayGo()) return;
    status.phase = 'running';
    await work(sweep, entry, until);
  } catch (error) {
    if (CancellationScope.current().consideredCancelled) throw error;
    Object.assign(status, isCancellation(error) ? { phase: 'cancelled' } : { phase: 'failed', error: errorOf(error) });
  } finally {
    delete entry.handle;
    sweep.atWork--;
  }
  await recordSweep(sweep);
}

async function work(sweep: Sweep, entry: Entry, until?: Border): Promise<void> {
  const { spent } = sweep.status;
  const handle = await startRun(sweep, entry, until);
  entry.handle = handle;
  // Whoever steered the sweep meanwhile did not see this run.
  if (sweep.stopping) await steerAll(sweep, 'stop now');
  else if (sweep.status.spent !== spent) await steerAll(sweep, 'stop after round');
  if (sweep.paused) await steerAll(sweep, 'pause');
  take(sweep, entry, await handle.result());
}

const roundOf = ({ curriculum }: RunStatus): number => epochOf({ rows: curriculum });

/** Its curriculum has ended before, or it is there already. */
function isPast(last: RunStatus | undefined, until?: Border): boolean {
  if (typeof until !== 'number' || !last || last.curriculum.length === 0) return false;
  const over = !last.steps.some(({ stage, state }) => stage === 'curriculum' && state === 'pending');
  return over || roundOf(last) >= until;
}

function startRun({ input, sharesData, ...sweep }: Sweep, { config, status }: Entry, until?: Border) {
  const { recipe, heartbeatTimeoutSeconds } = input;
  const { sweepId } = sweep.status;
  const { runId, settings } = status;
  // A run with a model of its own looks for that, and finds the data as the sweep has.
  const found = sweep.sources && !('model.source' in settings) ? { sources: sweep.sources } : {};
  return startChild<typeof softWorkflow>('softWorkflow', {
    workflowId: runId,
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    staticSummary: `SOFT run ${config.name} of ${sweepId}`,
    memo: { name: config.name, tags: config.tags, sweep: sweepId },
    args: [
      {
        config,
        sweep: sweepId,
        ...(until === undefined ? {} : { until }),
        ...(recipe === undefined ? {} : { recipe }),
        ...(sharesData ? { ...found, sourcesOf: sweepId } : {}),
        ...(heartbeatTimeoutSeconds ? { heartbeatTimeoutSeconds } : {}),
      },
    ],
  });
}

/** Keeps what a run has come to. One that a person has stopped takes no further part. */
function take(sweep: Sweep, entry: Entry, last: RunStatus): void {
  const { config, status } = entry;
  entry.last = last;
  const prepared = last.steps.find(({ id }) => id === 'prepare')?.key;
  if (sweep.sharesData && prepared !== undefined && !('seed' in status.settings)) sweep.status.prepared ??= prepared;
  Object.assign(status, { round: roundOf(last), value: valueOfRounds(config, last) });
  const onRequest = last.phase === 'stopped' && !sweep.stopping && !sweep.status.spent;
  if (onRequest) Object.assign(status, { phase: 'stopped', reason: 'stopped by a person' });
  else status.phase = last.phase === 'stopped' ? 'waiting' : last.phase;
}

function errorOf(error: unknown) {
  const cause = error instanceof ChildWorkflowFailure ? error.cause : error;
  const code = cause instanceof ApplicationFailure ? (cause.type ?? 'FAILED') : 'TRAINING_LOST';
  return { code, message: cause instanceof Error ? cause.message : String(cause), retryable: false };
}

function noneCompleted({ status: { runs, sweepId } }: Sweep): SoftflowError {
  const errors = runs.map(
    ({ runId, error, reason }) => `${runId}: ${error ? `${error.code}: ${error.message}` : reason}`,
  );
  return new SoftflowError(
    'SWEEP_FAILED',
    `No run of the sweep has come to its end.\n${errors.join('\n')}\nWhat is done is kept; \`softflow resume ${sweepId}\` tries again.`,
  );
}
