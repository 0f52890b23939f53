import { digestOf } from '../artifacts/canonical-json.ts';
import type { Store } from '../artifacts/store.ts';
import { earlierRuns, planRun, type RunPlan, sourceNames } from '../client/plan-run.ts';
import { type EstimatorAnswer, type EstimatorRequest, estimateSteps, measureRun } from '../workers/estimator.ts';
import { machineSources, outlookIn } from '../workers/planning.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { type CostedStep, costPlan } from './plan-view.ts';
import type { Terminal } from './terminal.ts';

/** The steps of a run and what they take. */
export interface RunCosts {
  steps: CostedStep[];
  /** What computes here; absent when nothing has to be computed. */
  backend?: string;
}

/**
 * Plans runs on this machine; what several of them have in common is found and measured once.
 *
 * @param store absent where there is none yet
 */
export function openRunCosts(store: Store | undefined, terminal: Terminal): (config: RunConfig) => Promise<RunCosts> {
  const sources = once(machineSources);
  const measured = once((request: EstimatorRequest) => measure(request, terminal));
  const earlier = once(async () => (store ? earlierRuns(store) : []));
  return async (config) => {
    const found = await sources(sourceNames(config));
    const plan = await planRun(config, found, { outlook: outlookIn(store), earlier: await earlier(null) });
    const answer = isAllDone(plan) ? undefined : await measured(requestOf(config, plan, store));
    const estimates = answer
      ? estimateSteps(
          plan.steps.map((step) => toEstimate(step, config)),
          answer.figures,
        )
      : [];
    const steps = costPlan(plan.steps, estimates, config.cost);
    return { steps, ...(answer ? { backend: answer.backend } : {}) };
  };
}

/** Does work once for each input. */
function once<Input, Output>(work: (input: Input) => Promise<Output>): (input: Input) => Promise<Output> {
  const done = new Map<string, Promise<Output>>();
  return (input) => {
    const key = digestOf(input);
    const result = done.get(key) ?? work(input);
    done.set(key, result);
    return result;
  };
}

/** Nothing has to be measured when nothing has to be computed. */
const isAllDone = ({ steps }: RunPlan): boolean =>
  steps.every(({ action, step }) => action === 'reuse' || step === 'renderReport');

function requestOf(config: RunConfig, { prepared }: RunPlan, store: Store | undefined): EstimatorRequest {
  const { model, data, seed, prompt, lora, generation, encode, train } = config;
  return {
    ...(store ? { storeRoot: store.root } : {}),
    backend: 'auto',
    figures: {
      ...{ data, seed, prompt, lora, generation },
      model: model.source,
      precision: model.precision,
      encodeRows: encode.tileRows,
      microBatchSize: train.microBatchSize,
      ...(prepared ? { prepared: prepared.outputs } : {}),
    },
  };
}

async function measure(request: EstimatorRequest, terminal: Terminal): Promise<EstimatorAnswer> {
  terminal.err('Measuring what the run will cost on this machine (seconds, once for each kind of work) ...');
  const answer = await measureRun(request);
  const warn = (text: string) => terminal.err(`${terminal.paint.yellow('warning')} ${text}`);
  if (answer.figures.calibration.busy)
    warn('This machine is busy with other work: the times are rough, most of them too high.');
  for (const warning of answer.warnings) warn(warning);
  return answer;
}

/** The first round trains y-hat alone (lambda 1), and so does every round whose curriculum stands still. */
function toEstimate({ id, step, stage }: RunPlan['steps'][number], { soft }: RunConfig) {
  const both = stage === 'curriculum' && soft.curriculumAlpha > 0 && id !== 'soft-1-train';
  return { id, step, both, ...(step === 'measureDistance' ? { limit: soft.distancePrompts } : {}) };
}
