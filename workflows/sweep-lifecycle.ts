import {
  ApplicationFailure,
  CancellationScope,
  type ChildWorkflowHandle,
  condition,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { Sources } from '../activities/contracts.ts';
import type { LightActivities } from '../activities/create-activities.ts';
import { refuseIf } from './message-handlers.ts';
import { type Steer, steerSignal } from './messages.ts';
import type { RunConfig } from './run-config.ts';
import { parseConfig, toFailure } from './run-lifecycle.ts';
import type { RunPhase, RunStatus } from './run-state.ts';
import type { softWorkflow } from './soft-workflow.ts';
import { RunStopped } from './steps.ts';
import { pauseSweepUpdate, resumeSweepUpdate, stopSweepUpdate, sweepStatusQuery } from './sweep-messages.ts';
import {
  MAX_SWEEP_RUNS,
  ranked,
  rungsOf,
  type Settings,
  type SweepInput,
  type SweepRun,
  type SweepStatus,
  settingsText,
} from './sweep-state.ts';
import { lightActivityOptions } from './task-queues.ts';

/** A run of a sweep, with what the sweep needs to move it. */
export interface Entry {
  config: RunConfig;
  status: SweepRun;
  /** While it is at work. */
  handle?: ChildWorkflowHandle<typeof softWorkflow>;
  /** What its last part ended with. */
  last?: RunStatus;
}

/** A sweep in progress. */
export interface Sweep {
  input: SweepInput;
  entries: Entry[];
  status: SweepStatus;
  atWork: number;
  paused: boolean;
  stopping: boolean;
  /** Whether all runs read the same data. */
  sharesData: boolean;
  /** Found once for all runs. */
  sources?: Sources;
}

/** @throws ApplicationFailure `CONFIG_INVALID` for any of its runs, `SWEEP_INVALID` */
export function openSweep(input: SweepInput): Sweep {
  const { runs, maxParallel, budgetSeconds } = requirePlan(input);
  const base = parseConfig(input.config);
  const sweepId = workflowInfo().workflowId;
  const entries = runs.map((settings, index): Entry => {
    const status: SweepRun = { runId: `${sweepId}-${index + 1}`, settings, phase: 'pending', round: 0, value: null };
    return { config: parseConfig(withSettings(base, settings)), status };
  });
  const status: SweepStatus = {
    sweepId,
    name: base.name,
    phase: 'running',
    metric: base.evaluation.metric,
    rungs: input.sweep.earlyStop ? rungsOf(entries.map(({ config }) => config)) : [],
    maxParallel,
    budgetSeconds: budgetSeconds ?? null,
    spent: false,
    runs: entries.map((entry) => entry.status),
    best: null,
  };
  const sharesData = !names(runs).some((name) => name.startsWith('data.'));
  const sources = input.sources ? { sources: input.sources } : {};
  return { input, entries, status, atWork: 0, paused: false, stopping: false, sharesData, ...sources };
}

const names = (runs: readonly Settings[]): string[] => runs.flatMap((settings) => Object.keys(settings));

function requirePlan({ sweep }: SweepInput) {
  const { runs = [], maxParallel = 0 } = sweep ?? {};
  if (runs.length >= 1 && runs.length <= MAX_SWEEP_RUNS && Number.isInteger(maxParallel) && maxParallel >= 1)
    return sweep;
  throw ApplicationFailure.nonRetryable(
    `Expected 1 to ${MAX_SWEEP_RUNS} runs and a maxParallel of 1 or more, got ${runs.length} runs and ${maxParallel}.`,
    'SWEEP_INVALID',
  );
}

/** The recipe with some of its fields set. */
export function withSettings(base: RunConfig, settings: Settings): Record<string, unknown> {
  const config = JSON.parse(JSON.stringify(base)) as Record<string, unknown>;
  for (const [name, value] of Object.entries(settings)) {
    const path = name.split('.');
    let target = config;
    for (const key of path.slice(0, -1)) {
      target[key] ??= {};
      target = target[key] as Record<string, unknown>;
    }
    target[path.at(-1) as string] = value;
  }
  return config;
}

/** Answers the query and takes the updates of `sweep-messages.ts`. */
export function handleSweepMessages(sweep: Sweep): void {
  const status = () => ({ ...sweep.status, phase: phaseOf(sweep) });
  setHandler(sweepStatusQuery, status);
  setHandler(
    pauseSweepUpdate,
    async () => {
      sweep.paused = true;
      await steerAll(sweep, 'pause');
      await recordSweep(sweep);
      return status();
    },
    { validator: () => refuseIf(sweep.paused, 'The sweep is paused already.') },
  );
  setHandler(
    resumeSweepUpdate,
    async () => {
      sweep.paused = false;
      await steerAll(sweep, 'resume');
      await recordSweep(sweep);
      return status();
    },
    { validator: () => refuseIf(!sweep.paused, 'The sweep is not paused.') },
  );
  setHandler(
    stopSweepUpdate,
    async ({ after }) => {
      sweep.stopping = true;
      await steerAll(sweep, after === 'now' ? 'stop now' : 'stop after round');
      return status();
    },
    {
      validator: (request) =>
        refuseIf(request?.after !== 'now' && request?.after !== 'round', "Expected `after` to be 'now' or 'round'."),
    },
  );
}

function phaseOf({ status, paused, stopping }: Sweep): RunPhase {
  if (status.phase !== 'running') return status.phase;
  if (stopping) return 'stopping';
  return paused ? 'paused' : 'running';
}

/** Tells every run at work; one that has just ended needs not be told. */
export async function steerAll({ entries }: Sweep, wish: Steer): Promise<void> {
  const handles = entries.flatMap(({ handle }) => handle ?? []);
  await Promise.all(handles.map((handle) => handle.signal(steerSignal, wish).catch(() => {})));
}

/** Waits for a place among the runs at work. @throws RunStopped once the sweep is to stop */
export async function takePlace(sweep: Sweep): Promise<void> {
  const isFree = () => sweep.stopping || (!sweep.paused && sweep.atWork < sweep.status.maxParallel);
  // Of those who wait for the same place, the first takes it before the next one looks again.
  while (!isFree()) await condition(isFree);
  if (sweep.stopping) throw new RunStopped('stopped on request');
  sweep.atWork++;
}

/** Once the budget is used up, pauses left out, nothing but the best run begins another round. */
export async function watchBudget(sweep: Sweep): Promise<void> {
  const { budgetSeconds } = sweep.input.sweep;
  if (budgetSeconds === undefined) return;
  const ended = () => sweep.status.phase !== 'running';
  for (let left = budgetSeconds * 1000; left > 0 && !ended(); ) {
    await condition(() => !sweep.paused || ended());
    const since = Date.now();
    await condition(() => sweep.paused || ended(), left);
    left -= Date.now() - since;
  }
  if (ended()) return;
  sweep.status.spent = true;
  await steerAll(sweep, 'stop after round');
}

/** Writes where the sweep stands into the store. */
export async function recordSweep(sweep: Sweep, start = false): Promise<void> {
  const { recordSweep: write } = light();
  const { sweepId } = sweep.status;
  const { recipe, sweep: plan } = sweep.input;
  const status = { ...sweep.status, phase: phaseOf(sweep) };
  setCurrentDetails(describeSweep(status));
  const createdAt = workflowInfo().startTime.toISOString();
  const begun = {
    createdAt,
    input: { config: sweep.input.config, sweep: plan },
    ...(recipe === undefined ? {} : { recipe }),
  };
  await CancellationScope.nonCancellable(() =>
    write.executeWithOptions({ summary: `record: ${status.phase}` }, [
      { sweepId, status, ...(start ? { start: begun } : {}) },
    ]),
  );
}

/** A run that goes on no more; its record says so, and it can be resumed on its own. */
export async function letGo({ status, last }: Entry, reason: string): Promise<void> {
  Object.assign(status, { phase: 'stopped', reason });
  if (!last) return;
  const { recordRun } = light();
  await CancellationScope.nonCancellable(() =>
    recordRun.executeWithOptions({ summary: `record: ${status.runId} stopped` }, [
      { runId: status.runId, status: { ...last, phase: 'stopped' } },
    ]),
  );
}

/** Writes how the sweep ended into the store, and turns errors into failures with a code. */
export async function concludedSweep(sweep: Sweep, work: () => Promise<void>): Promise<SweepStatus> {
  const end = async (phase: RunPhase): Promise<SweepStatus> => {
    sweep.status.phase = phase;
    for (const entry of sweep.entries)
      if (['pending', 'waiting'].includes(entry.status.phase)) await letGo(entry, `the sweep is ${phase}`);
    await recordSweep(sweep);
    return sweep.status;
  };
  try {
    await work();
    return await end('completed');
  } catch (error) {
    if (error instanceof RunStopped) return await end('stopped');
    if (isCancellation(error)) {
      await end('cancelled');
      throw error;
    }
    const failure = toFailure(error);
    if (!failure) throw error;
    sweep.status.error = { code: failure.type ?? 'FAILED', message: failure.message, retryable: !failure.nonRetryable };
    await end('failed');
    throw failure;
  }
}

function light() {
  return proxyActivities<LightActivities>(lightActivityOptions(workflowInfo().taskQueue));
}

/** The ranking in Markdown, for the details pane of the Temporal UI. */
function describeSweep({ metric, runs, best }: SweepStatus): string {
  const rows = ranked(runs).map(
    ({ runId, settings, phase, round, value }) =>
      `| ${runId}${runId === best ? ' (best)' : ''} | ${settingsText(settings)} | ${phase} | ${round} | ${value?.toFixed(4) ?? ''} |`,
  );
  return [`| run | settings | phase | round | ${metric} |`, '| --- | --- | --- | --- | --- |', ...rows].join('\n');
}
