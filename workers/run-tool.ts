import { randomUUID } from 'node:crypto';
import type { Progress, StepInput, StepResult, TensorParams, ToolName } from '../activities/contracts.ts';
import { findStep, keyOfStep } from '../activities/step-result.ts';
import type { TrainerDeath, TrainerJob } from '../activities/trainer.ts';
import type { Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import type { BackendChoice } from './backend-choices.ts';
import { machinePlaces } from './places.ts';
import { TrainerClient } from './trainer-client.ts';

export interface ToolOptions {
  store: Store;
  backend?: BackendChoice;
  /** Called a few times a second while something moves. */
  onProgress?: (progress: Progress) => void;
  /** Ends the work at its next border; finished tiles are kept. */
  signal?: AbortSignal;
}

const POLL_MS = 250;
const STALL_MS = 600_000;

/**
 * Lets a trainer process of its own do a job that belongs to no run. What it finishes is in the store under the job's
 * key, so that the same call goes on where it was interrupted, and costs nothing once it is done.
 *
 * @throws SoftflowError `INTERRUPTED` after `signal`, `TRAINER_DIED`, and those of the job
 */
export async function runTool<Result>(
  tool: ToolName,
  { inputs, params }: Pick<StepInput<unknown>, 'inputs' | 'params'>,
  { store, backend = 'auto', onProgress, signal }: ToolOptions,
): Promise<StepResult<Result>> {
  const key = keyOfStep(tool, inputs, params);
  const found = await findStep(store, key);
  if (found) return found as StepResult<Result>;
  const trainer = new TrainerClient({ storeRoot: store.root, backend });
  try {
    const modelFiles = await machinePlaces.modelFiles((params as TensorParams).model.source);
    const job = trainer.submit({ step: tool, key, inputs, params, circumstances: circumstances() }, modelFiles);
    return (await outcomeOf(job, onProgress, signal)) as StepResult<Result>;
  } finally {
    trainer.close();
  }
}

const circumstances = (): StepInput<unknown>['circumstances'] => ({
  runId: `tool-${randomUUID().slice(0, 8)}`,
  checkpointEverySeconds: 60,
  // Nothing compares these results byte by byte; the manifest says under which fingerprints they were made.
  allowDifferentBackend: true,
  stallTimeoutSeconds: STALL_MS / 1000,
});

async function outcomeOf(
  job: TrainerJob,
  onProgress: ToolOptions['onProgress'],
  signal: AbortSignal | undefined,
): Promise<StepResult<unknown>> {
  const look = () => {
    const progress = job.progress();
    if (progress) onProgress?.(progress);
    if (job.silentMs() > STALL_MS) job.kill();
  };
  const timer = setInterval(look, POLL_MS);
  const drain = () => job.drain();
  signal?.addEventListener('abort', drain);
  if (signal?.aborted) drain();
  try {
    const outcome = await job.outcome;
    look();
    if (outcome.kind === 'done' && outcome.result) return outcome.result;
    if (outcome.kind === 'failed') {
      const { code, message, retryable, details } = outcome.fault;
      throw new SoftflowError(code, message, { retryable, details });
    }
    if (outcome.kind === 'died') throw died(outcome.death);
    throw new SoftflowError(
      'INTERRUPTED',
      'Interrupted; nothing was written. Finished parts are kept: the same command goes on from them.',
    );
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', drain);
  }
}

function died({ signal, exitCode, rssBytes, stderr }: TrainerDeath): SoftflowError {
  const memory = rssBytes === null ? '' : ` at ${(rssBytes / 1e9).toFixed(1)} GB of memory`;
  return new SoftflowError(
    'TRAINER_DIED',
    `The process that computes ended (${signal ?? `exit code ${exitCode}`}${memory}). ${stderr.trim().split('\n').at(-1) ?? ''} The same command goes on from what is finished.`,
    { retryable: true },
  );
}
