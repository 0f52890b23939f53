import { ActivityFailure, ApplicationFailure } from '@temporalio/workflow';
import type { Lost, Producer } from '../activities/find-producer.ts';
import { light } from './light.ts';
import type { Stage } from './run-state.ts';
import { stepParams } from './step-params.ts';
import type { Run, StepCall } from './steps.ts';

/** Computes a step, unless its result is there. */
export type MakeAgain = (call: StepCall, expectedKey: string) => Promise<void>;

/**
 * Does a step's work. When an artifact that it reads is gone from the store, the step that made it makes it again from
 * its inputs, and the work is done once more; once for each artifact, so that what cannot be had ends the run with the
 * error that names it.
 */
export async function withLostArtifacts<T>(run: Run, work: () => Promise<T>, makeAgain: MakeAgain): Promise<T> {
  const tried = new Set<string>();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const lost = whatIsLost(error);
      const name = JSON.stringify(lost);
      if (!lost || tried.has(name)) throw error;
      tried.add(name);
      const producer = await light(run, 'find what made a lost artifact', (activities) =>
        activities.findProducer({ ...lost, run: run.id }),
      );
      if (producer) await makeAgain(callOf(run, producer), producer.key);
    }
  }
}

/** What a failure says is gone; undefined for every other failure. */
function whatIsLost(error: unknown): Lost | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  if (!(cause instanceof ApplicationFailure)) return undefined;
  const { artifact, key } = (cause.details?.[0] ?? {}) as { artifact?: unknown; key?: unknown };
  if (cause.type === 'STORE_MISSING' && typeof artifact === 'string') return { artifact };
  return cause.type === 'STEP_MISSING' && typeof key === 'string' ? { key } : undefined;
}

/** The call of a step that was made before, from its manifest and this run's own sources. */
function callOf(run: Run, { step, key, inputs, params, planned }: Producer): StepCall {
  const { sources, steps } = run.state;
  const entry = steps.find((status) => status.key === key) ?? planned;
  const { id, label } = entry ?? { id: `again-${key.slice(0, 8)}`, label: `${step}, made again` };
  const stage = (entry?.stage ?? run.state.stage) as Stage;
  const whole =
    sources && step === 'prepareData' ? stepParams(run.config, sources).prepareData() : withModel(run, params);
  return { id, stage, step, label, inputs, params: whole };
}

/** A manifest has the model's digest alone; this run knows where that model is. */
function withModel(run: Run, params: unknown): unknown {
  const isOfModel = typeof params === 'object' && params !== null && 'model' in params;
  return isOfModel && run.state.sources ? { ...params, model: run.state.sources.model } : params;
}
