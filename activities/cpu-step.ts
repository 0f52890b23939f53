import { activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import type { Store } from '../artifacts/store.ts';
import type { Progress, StepInput, StepResult } from './contracts.ts';
import { toFailure } from './failures.ts';
import { parseStepInput } from './step-input.ts';
import { type FinishedStep, findStep, finishStep } from './step-result.ts';
import { stopped } from './stopped.ts';

/** What a step without tensors computes; its outputs are in the store when it returns. */
export type CpuStepBody<Params> = (
  store: Store,
  input: StepInput<Params>,
  report: (progress: Progress) => void,
) => Promise<Pick<FinishedStep, 'outputs' | 'result'>>;

/** The activity of a step that runs in the worker itself: found or computed as a whole. */
export function cpuStep<Params>(store: Store, body: CpuStepBody<Params>) {
  return async (raw: StepInput<unknown>): Promise<StepResult<unknown>> => {
    try {
      const input = parseStepInput<Params>(raw);
      return (await findStep(store, input.key)) ?? (await compute(store, input, body));
    } catch (error) {
      throw cancellationSignal().aborted ? stopped('the start of the step') : toFailure(error);
    }
  };
}

async function compute<Params>(
  store: Store,
  input: StepInput<Params>,
  body: CpuStepBody<Params>,
): Promise<StepResult<unknown>> {
  const began = performance.now();
  const finished = await heartbeating((report) => body(store, input, report));
  const telemetry = { seconds: (performance.now() - began) / 1000, resumes: 0 };
  await store.addTelemetry(input.key, { runId: input.circumstances.runId, ...telemetry });
  return finishStep(store, input, { ...finished, fingerprint: { node: process.version }, telemetry });
}

/** Keeps the heartbeat going while `work` runs, with what it reported last. */
export async function heartbeating<T>(work: (report: (progress: Progress) => void) => Promise<T>): Promise<T> {
  let last: Progress | undefined;
  const beat = () => heartbeat(last);
  const timer = setInterval(beat, (activityInfo().heartbeatTimeoutMs ?? 20_000) / 4);
  try {
    return await work((progress) => {
      last = progress;
      beat();
    });
  } finally {
    clearInterval(timer);
  }
}
