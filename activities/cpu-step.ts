import { activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import type { Store } from '../artifacts/store.ts';
import { CONTRACT_VERSIONS, type Progress, type StepInput, type StepName, type StepResult } from './contracts.ts';
import { toFailure } from './failures.ts';
import { requireSameContract } from './same-contract.ts';
import type { StepBody, StepInputs, StepParams } from './step-contracts.ts';
import { parseStepInput, requireOutputs } from './step-input.ts';
import { findStep, finishStep, forWorkflow } from './step-result.ts';
import { stopped } from './stopped.ts';

type BodyInput<Step extends StepName> = StepInput<StepParams[Step]> & { inputs: StepInputs<Step> };

/** The activity of a step that runs in the worker itself: found or computed as a whole, by the first of its shards. */
export function cpuStep<Step extends StepName>(
  store: Store,
  step: Step,
  body: StepBody<Step>,
  contractVersion: number = CONTRACT_VERSIONS[step],
) {
  return async (raw: StepInput<unknown>): Promise<StepResult<unknown> | null> => {
    try {
      const input = parseStepInput<StepParams[Step]>(raw) as BodyInput<Step>;
      const found = await findStep(store, input.key);
      if (found) return forWorkflow(found);
      requireSameContract(input, activityInfo().attempt, contractVersion);
      if (input.circumstances.shard && input.circumstances.shard.index > 0) return null;
      return forWorkflow(await compute(store, input, body, contractVersion));
    } catch (error) {
      throw cancellationSignal().aborted ? stopped('the start of the step') : toFailure(error);
    }
  };
}

async function compute<Step extends StepName>(
  store: Store,
  input: BodyInput<Step>,
  body: StepBody<Step>,
  contractVersion: number,
): Promise<StepResult<unknown>> {
  const began = performance.now();
  const finished = await heartbeating((report) => body(store, input, report));
  requireOutputs(input.step, finished.outputs);
  const telemetry = { seconds: (performance.now() - began) / 1000, resumes: 0 };
  await store.addTelemetry(input.key, { runId: input.circumstances.runId, ...telemetry });
  const fingerprint = { node: process.version };
  return finishStep(store, input, { ...finished, fingerprint, telemetry }, contractVersion);
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
