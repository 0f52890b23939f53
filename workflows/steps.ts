import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  workflowInfo,
} from '@temporalio/workflow';
import type { Circumstances, LookUpResult, StepInput, StepName, StepResult } from '../activities/contracts.ts';
import type { StepActivities } from '../activities/create-activities.ts';
import type { StartRecord } from '../activities/run-records.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { nearModel } from './affinity.ts';
import { type LightPlace, light, mayBeTriedAgain } from './light.ts';
import { withLostArtifacts } from './lost-artifacts.ts';
import type { RunConfig } from './run-config.ts';
import { describeRun } from './run-details.ts';
import type { Border, RunPhase, SoftState, Stage, StepStatus } from './run-state.ts';
import { toStatus } from './run-state.ts';
import { markStage } from './search-attributes.ts';
import { comesAfter, ofAttempt } from './step-order.ts';
import { QUEUE_OF_STEP, type StepActivityOptions, stepActivityOptions, TILE_STEPS } from './task-queues.ts';

/** A run in progress: what every step needs besides its own inputs. */
export interface Run extends LightPlace {
  id: string;
  heartbeatTimeoutSeconds: number;
  maxHistoryEvents: number;
  config: RunConfig;
  state: SoftState;
  /** How often a source that cannot be read is tried; for ever by default. */
  sourceAttempts?: number;
  /** Whose copy of growing data it reads, when not its own: that of the sweep that it belongs to. */
  sourcesOf?: string;
  /** Where it ends for now; set by the sweep that it belongs to. */
  until?: Border;
  /** Of the step in progress, and whether `pause` or `stop` has ended it early. */
  inProgress?: { scope: CancellationScope; interrupted: boolean };
}

export interface StepCall {
  /** Unique in the run; the same in every run of the same config. */
  id: string;
  stage: Stage;
  step: StepName;
  label: string;
  inputs: Record<string, ArtifactRef>;
  params: unknown;
}

/** Ends the run on a person's wish, or where it is to wait for others; everything done is kept. */
export class RunStopped extends Error {
  override readonly name = 'RunStopped';
  readonly phase: 'stopped' | 'waiting';
  constructor(reason: string, phase: 'stopped' | 'waiting' = 'stopped') {
    super(reason);
    this.phase = phase;
  }
}

/**
 * One durable step. A step whose key has a manifest is reused without waiting for a slot; any other is computed by its
 * activity, from its last checkpoint or tile when it was begun before.
 */
export async function runStep<Result>(run: Run, planned: StepCall): Promise<StepResult<Result>> {
  await mayGoOn(run);
  stopBefore(run, planned.id);
  const params = ofAttempt(run.config, run.state.attempts ?? [], planned.id, planned.params);
  const call = { ...planned, params };
  const lookUp = () => lookUpStep(run, call);
  const { key, found, resumable } = await lookUp();
  enter(run, call, { key, state: found ? 'reused' : 'running', ...(resumable ? { resumedFrom: resumable } : {}) });
  if (found) return found as StepResult<Result>;

  const work = () => untilDone(run, () => compute(run, call, key));
  let computed: StepResult<unknown> | undefined;
  try {
    computed = await withLostArtifacts(run, work, (lost, expected) => makeAgain(run, lost, expected));
  } catch (error) {
    // Workers of another build have taken over: as theirs, the step has another key.
    if (hasOtherContract(error) && (await lookUp()).key !== key) return runStep(run, planned);
    throw error;
  }
  const result = computed ?? (await lookUp()).found;
  if (!result) throw incomplete(call, key);
  enter(run, call, { state: 'run' });
  return result as StepResult<Result>;
}

function lookUpStep(run: Run, { step, inputs, params, label }: StepCall): Promise<LookUpResult> {
  return light(run, label, (activities) => activities.lookUpStep({ step, inputs, params }));
}

/**
 * Computes a step whose result was there once. With other sources than it was made from it has another key; then it is
 * left, and whoever needs it fails with the error that names what is gone.
 */
async function makeAgain(run: Run, call: StepCall, expectedKey: string): Promise<void> {
  const { key, found } = await lookUpStep(run, call);
  if (key === expectedKey && !found) await runStep(run, call);
}

function hasOtherContract(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.type === 'CONTRACT_DIFFERS';
}

/** Runs `work`, again after each pause, until it is done. */
async function untilDone<T>(run: Run, work: () => Promise<T>): Promise<T> {
  for (;;) {
    await mayGoOn(run);
    const progress = { scope: new CancellationScope(), interrupted: false };
    run.inProgress = progress;
    try {
      return await progress.scope.run(work);
    } catch (error) {
      if (!(progress.interrupted && isLostOrCancelled(error))) throw error;
    } finally {
      delete run.inProgress;
    }
  }
}

/**
 * A worker that is lost after it was asked to drain answers with a timeout instead of a cancellation, one that shuts
 * down before it hears of it with its own retryable failure; what is to be cancelled is not tried again by the server.
 */
function isLostOrCancelled(error: unknown): boolean {
  return isCancellation(error) || mayBeTriedAgain(error);
}

/** Drains the step in progress: it stops at the next micro-batch or tile and writes what it has done. */
export function interrupt(run: Run): void {
  if (!run.inProgress) return;
  run.inProgress.interrupted = true;
  run.inProgress.scope.cancel();
}

/** Waits while the run is paused. @throws RunStopped once it is to stop */
export async function mayGoOn(run: Run): Promise<void> {
  const stopping = () => run.state.stopAfter === 'now';
  if (run.state.paused && !stopping()) {
    await record(run, 'paused');
    await condition(() => !run.state.paused || stopping());
    if (!stopping()) await record(run, 'running');
  }
  if (stopping()) throw new RunStopped('stopped on request');
}

/** @throws RunStopped before the first step that comes after the one at which the run is to stop */
function stopBefore({ config, state }: Run, id: string): void {
  const { lastStep } = state;
  if (!lastStep || !comesAfter(config, id, lastStep.id)) return;
  lastStep.reached = true;
  throw new RunStopped(`stopped after ${lastStep.id}`);
}

/** The step's result, or undefined when shards had to be put together by the store. */
async function compute(run: Run, call: StepCall, key: string): Promise<StepResult<unknown> | undefined> {
  const count = TILE_STEPS.has(call.step) ? run.config.shards : 1;
  if (count === 1) return (await shard(run, call, key)) ?? undefined;
  // The last shard writes the manifest; which one that is, is chance.
  await Promise.all(Array.from({ length: count }, (_, index) => shard(run, call, key, { index, count })));
  return undefined;
}

function shard(
  run: Run,
  call: StepCall,
  key: string,
  part?: { index: number; count: number },
): Promise<StepResult<unknown> | null> {
  const options = {
    ...stepActivityOptions(call.step, run.queue, run.heartbeatTimeoutSeconds),
    ...ownQueue(run, call.step),
  };
  const summary = part ? `${call.label}, shard ${part.index + 1}/${part.count}` : call.label;
  const input: StepInput<unknown> = {
    step: call.step,
    key,
    inputs: call.inputs,
    params: call.params,
    circumstances: circumstances(run, part),
  };
  const activity = (place: StepActivityOptions) =>
    proxyActivities<StepActivities>({ ...place, summary })[call.step](input);
  // Shards are to run at once, so they are not sent to one worker.
  return part || QUEUE_OF_STEP[call.step] !== 'gpu' ? activity(options) : nearModel(run.state, options, activity);
}

/** The queue of a worker that serves this step alone, in code or a language of its own. */
function ownQueue({ config }: Run, step: StepName): { taskQueue?: string } {
  const taskQueue = config.stepQueues[step];
  return taskQueue === undefined ? {} : { taskQueue };
}

function circumstances({ id, config }: Run, part?: { index: number; count: number }): Circumstances {
  return {
    runId: id,
    checkpointEverySeconds: config.checkpoint.every,
    checkpointsKept: config.retention.checkpoints,
    ...(part ? { shard: part } : {}),
    allowDifferentBackend: config.allowDifferentBackend,
    stallTimeoutSeconds: config.stallTimeout,
  };
}

/** Marks where a step stands, in the plan that people see. */
function enter(run: Run, call: StepCall, change: Partial<StepStatus>): void {
  const { id, stage, step, label } = call;
  const entry = run.state.steps.find((status) => status.id === id);
  if (entry) Object.assign(entry, change);
  else run.state.steps.push({ id, stage, step, label, state: 'pending', ...change });
  if (run.state.stage !== stage) markStage(stage);
  run.state.stage = stage;
  setCurrentDetails(describeRun(run.state));
}

/** Who began the run and when; the first record holds it, with the config. */
export function startRecord({ config }: Run, { recipe, sweep }: Pick<StartRecord, 'recipe' | 'sweep'>): StartRecord {
  const createdAt = workflowInfo().startTime.toISOString();
  return {
    createdAt,
    tags: config.tags,
    ...(recipe === undefined ? {} : { recipe }),
    ...(sweep === undefined ? {} : { sweep }),
  };
}

/** Writes the run's record into the store, which is the record of runs when no server is there; its config once. */
export async function record(run: Run, phase: RunPhase, start?: StartRecord): Promise<void> {
  const status = toStatus(run.id, phase, run.state);
  const begun = start ? { config: run.config, start } : {};
  const summary = `record: ${phase}, ${run.state.stage}`;
  await CancellationScope.nonCancellable(() =>
    light(run, summary, (activities) => activities.recordRun({ runId: run.id, ...begun, status })),
  );
}

/** One output of a step. */
export function output(result: StepResult<unknown>, name: string): ArtifactRef {
  const ref = result.outputs[name];
  if (ref) return ref;
  const found = Object.keys(result.outputs).join(', ');
  throw ApplicationFailure.nonRetryable(
    `Expected an output \`${name}\` of step ${result.key}, found: ${found}. The step was made by another version; ` +
      'run again with this one.',
    'STEP_OUTPUT_MISSING',
  );
}

function incomplete(call: StepCall, key: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(
    `All shards of "${call.label}" have ended, but step ${key} has no manifest. Resume the run to compute what is missing.`,
    'STEP_INCOMPLETE',
    { key },
  );
}
