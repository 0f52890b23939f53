import { fork } from 'node:child_process';
import { totalmem } from 'node:os';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { estimateStep, type RunFigures, type StepEstimate, type StepToEstimate } from '../activities/estimate.ts';
import type { Fault } from '../activities/faults.ts';
import type { FiguresRequest } from '../activities/measure-figures.ts';
import { SoftflowError } from '../errors.ts';
import type { BackendChoice } from './backend-choices.ts';
import { trainerEnvironment } from './trainer-settings.ts';

export type { StepEstimate };

export interface EstimatorRequest {
  /** Absent where there is no store yet. */
  storeRoot?: string;
  backend: BackendChoice;
  figures: FiguresRequest;
}
export interface EstimatorAnswer {
  figures: RunFigures;
  /** What computes here. */
  backend: string;
  warnings: string[];
}

/**
 * What a run will cost on this machine, measured in a process with the environment of a trainer; a minute at most the
 * first time, then known.
 */
export async function measureRun(request: EstimatorRequest): Promise<EstimatorAnswer> {
  const path = fileURLToPath(new URL(`./estimator-process${extname(import.meta.url)}`, import.meta.url));
  const child = fork(path, [JSON.stringify(request)], {
    // It may have to fetch the model first, which takes what a worker has.
    env: { ...process.env, ...trainerEnvironment(process.env) },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-2000);
  });
  const stop = () => child.kill('SIGKILL');
  process.once('exit', stop);
  try {
    return await new Promise((resolve, reject) => {
      child.once('message', (message: EstimatorAnswer | { fault: Fault }) =>
        'fault' in message
          ? reject(new SoftflowError(message.fault.code, message.fault.message, { details: message.fault.details }))
          : resolve(message),
      );
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        reject(
          new SoftflowError(
            'ESTIMATE_FAILED',
            `Measuring the run's costs ended with ${signal ?? `exit code ${code}`}. ${stderr}`,
          ),
        ),
      );
    });
  } finally {
    process.off('exit', stop);
  }
}

/** Time, rows and memory of each step; the trainer's memory never shrinks from step to step. */
export function estimateSteps(steps: readonly StepToEstimate[], figures: RunFigures): StepEstimate[] {
  let peak = 0;
  return steps.map((step) => {
    const estimate = estimateStep(step, figures);
    if (step.step === 'prepareData' || estimate.peakBytes === undefined) return estimate;
    peak = Math.max(peak, estimate.peakBytes);
    return { ...estimate, peakBytes: peak };
  });
}

/** Bytes that processes of this machine or container may use. */
export function machineMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
