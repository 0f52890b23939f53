import { ApplicationFailure, proxyActivities } from '@temporalio/workflow';
import type { StepResult } from '../activities/contracts.ts';
import type { LightActivities, StepActivities } from '../activities/create-activities.ts';
import type { Challenger, Champion } from '../activities/promotion-contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { lightActivityOptions, stepActivityOptions } from './task-queues.ts';

/** Where the steps run. */
export interface StepPlace {
  queue: string;
  heartbeatTimeoutSeconds: number;
}

type TestStep = 'encodeTitles' | 'evaluate';

/** The champion's predictions of the challenger's test windows; reused when it was tested on them before. */
export async function testChampion(place: StepPlace, challenger: Challenger, champion: Champion): Promise<ArtifactRef> {
  const { windows, items, titles } = challenger;
  const compute = (step: TestStep, inputs: Record<string, ArtifactRef>, params: unknown, output: string) =>
    computeOnce(place, { step, inputs, params, circumstances: challenger.circumstances }, output);
  const embeddings = await compute('encodeTitles', { titles }, champion.encode, 'embeddings');
  const inputs = { windows, items, titles, embeddings, adapter: champion.adapter };
  return compute('evaluate', inputs, champion.evaluate, 'predictions');
}

interface TestCall {
  step: TestStep;
  inputs: Record<string, ArtifactRef>;
  params: unknown;
  circumstances: Challenger['circumstances'];
}

async function computeOnce(place: StepPlace, call: TestCall, output: string): Promise<ArtifactRef> {
  const { step, inputs, params } = call;
  const { lookUpStep } = proxyActivities<LightActivities>(lightActivityOptions(place.queue));
  const summary = `champion: ${step}`;
  const { key, found } = await lookUpStep.executeWithOptions({ summary }, [{ step, inputs, params }]);
  const options = stepActivityOptions(step, place.queue, place.heartbeatTimeoutSeconds);
  const activities = proxyActivities<StepActivities>({ ...options, summary });
  const result: StepResult<unknown> | null = found ?? (await activities[step]({ ...call, key }));
  const ref = result?.outputs[output];
  if (ref) return ref;
  throw ApplicationFailure.nonRetryable(
    `Expected an output \`${output}\` of step ${key}. It was made by another version; update workflow and worker to the same one.`,
    'STEP_OUTPUT_MISSING',
  );
}
