import { proxyActivities } from '@temporalio/workflow';
import type {
  DistanceResult,
  EncodeTitlesResult,
  Metrics,
  PrepareDataResult,
  RenderReportParams,
  SelfDistillResult,
  Sources,
  StepResult,
  TrainEpochResult,
} from '../activities/contracts.ts';
import type { LongActivities } from '../activities/create-activities.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { SoftflowError } from '../errors.ts';
import { curriculumLambda, requireInitialDistance } from './curriculum.ts';
import { handleMessages } from './message-handlers.ts';
import { releaseParams } from './release-params.ts';
import { border, concluded, endAt, openRun, type SoftWorkflowInput } from './run-lifecycle.ts';
import { plannedSteps } from './run-plan.ts';
import { carriesAll, epochOf, type RunStatus } from './run-state.ts';
import { type DataRefs, stepInputs } from './step-inputs.ts';
import { rankCutoffs, sourceNames, stepParams } from './step-params.ts';
import { output, type Run, record, runStep, startRecord } from './steps.ts';
import { longActivityOptions } from './task-queues.ts';
import { chosenEpoch, dropPending, finishEpoch, goesOn } from './training-stage.ts';

export type { SoftWorkflowInput } from './run-lifecycle.ts';

/** What preparation hands to every later step. */
export interface Data extends DataRefs<ArtifactRef> {
  sources: Sources;
}

/** SOFT, top to bottom as in the method: SFT, self-distillation, curriculum, test. The run id is the workflow id. */
export async function softWorkflow(input: SoftWorkflowInput): Promise<RunStatus> {
  const run = openRun(input);
  handleMessages(run);
  return concluded(run, async () => {
    if (!input.state) await record(run, 'running', startRecord(run, input));
    const data = await prepare(run);
    requireTestWindows(run);
    const embeddings = await encodeTitles(run, data);
    await border(run);
    endAt(run, 'encode');

    await fineTune(run, data, embeddings);
    endAt(run, 'sft');
    const distilled = await selfDistill(run, data);
    await border(run);
    endAt(run, 'self-distil');

    await trainCurriculum(run, data, embeddings, distilled);
    await evaluateOnTest(run, data, embeddings);
    await border(run);

    await release(run, data);
    await renderReport(run);
  });
}

/** Finds model and data, and makes of them the windows of every later step. */
export async function prepare(run: Run): Promise<Data> {
  const { config, state } = run;
  const { resolveSources } = proxyActivities<LongActivities>(
    longActivityOptions('cpu', run.queue, run.heartbeatTimeoutSeconds, run.sourceAttempts),
  );
  state.sources ??= await resolveSources({ ...sourceNames(config), runId: run.sourcesOf ?? run.id });
  const params = stepParams(config, state.sources).prepareData();
  const prepared = await once<PrepareDataResult>(run, 'prepare', {}, params);
  requireCatalogue(prepared.result.titles, rankCutoffs(config));
  return {
    sources: state.sources,
    items: output(prepared, 'items'),
    titles: output(prepared, 'titles'),
    train: output(prepared, 'windowsTrain'),
    valid: output(prepared, 'windowsValid'),
    test: output(prepared, 'windowsTest'),
  };
}

async function encodeTitles(run: Run, data: Data): Promise<ArtifactRef> {
  const params = stepParams(run.config, data.sources).encodeTitles();
  return output(await once<EncodeTitlesResult>(run, 'encode', stepInputs.encodeTitles(data), params), 'embeddings');
}

/** SFT on the real targets, until validation no longer improves. */
async function fineTune(run: Run, data: Data, embeddings: ArtifactRef): Promise<void> {
  const stage = run.state.sft;
  while (goesOn(run, 'sft')) {
    const epoch = epochOf(stage) + 1;
    const trained = await trainEpoch(run, data, 'sft', epoch, 0);
    const validation = await evaluate(run, data, embeddings, `sft-${epoch}-validate`, output(trained, 'adapter'));
    const { trainLoss } = trained.result;
    const row = { epoch, lambda: 0, distance: null, distanceAfter: null, trainLoss, validation };
    await finishEpoch(run, 'sft', trained, row);
    await border(run);
  }
  dropPending(run, 'sft');
}

/** The tuned model answers its own training prompts. */
async function selfDistill(run: Run, data: Data): Promise<ArtifactRef> {
  const inputs = stepInputs.selfDistill(data, chosenEpoch(run, 'sft').adapter);
  const params = stepParams(run.config, data.sources).selfDistill();
  return output(await once<SelfDistillResult>(run, 'self-distil', inputs, params), 'distilled');
}

/** A fresh adapter on a mix that moves from the distilled targets to the real ones, as the distance falls. */
async function trainCurriculum(run: Run, data: Data, embeddings: ArtifactRef, distilled: ArtifactRef): Promise<void> {
  const { state } = run;
  const stage = state.curriculum;
  state.initialDistance ??= await measureInitialDistance(run, data, embeddings);
  const { initialDistance } = state;
  const lambdaAfter = (distance: number) => curriculumLambda(state.curriculumAlpha, distance, initialDistance);
  while (goesOn(run, 'curriculum')) {
    const epoch = epochOf(stage) + 1;
    const distance = stage.rows.at(-1)?.distanceAfter ?? initialDistance;
    const lambda = lambdaAfter(distance);
    const trained = await trainEpoch(run, data, 'curriculum', epoch, lambda, distilled);
    const adapter = output(trained, 'adapter');
    const distanceAfter = await measureDistance(run, data, embeddings, `soft-${epoch}-distance`, adapter);
    // Also when no further round needs it: a distance that is not finite ends the run at the round that made it.
    lambdaAfter(distanceAfter);
    const validation = await evaluate(run, data, embeddings, `soft-${epoch}-validate`, adapter);
    const { trainLoss } = trained.result;
    await finishEpoch(run, 'curriculum', trained, { epoch, lambda, distance, distanceAfter, trainLoss, validation });
    await border(run);
    endAt(run, epoch);
  }
  dropPending(run, 'curriculum');
  // It has fewer rounds than it might have had.
  if (typeof run.until === 'number') endAt(run, run.until);
}

/** d_0: the distance of the base model, before SOFT training. */
async function measureInitialDistance(run: Run, data: Data, embeddings: ArtifactRef): Promise<number> {
  const distance = await measureDistance(run, data, embeddings, 'soft-0-distance');
  requireInitialDistance(distance);
  return distance;
}

/** Every model on the same test windows. */
async function evaluateOnTest(run: Run, data: Data, embeddings: ArtifactRef): Promise<void> {
  const params = stepParams(run.config, data.sources);
  await once<Metrics>(run, 'test-popularity', stepInputs.testPopularity(data), params.evaluatePopularity());
  const evaluated = (id: string, adapter?: ArtifactRef) =>
    once<Metrics>(run, id, stepInputs.test(data, embeddings, adapter), params.evaluate());
  if (run.config.evaluation.zeroShot) await evaluated('test-zeroShot');
  await evaluated('test-sft', chosenEpoch(run, 'sft').adapter);
  endAt(run, 'test-sft');
  await evaluated('test-soft', chosenEpoch(run, 'curriculum').adapter);
}

async function release(run: Run, { sources }: Data): Promise<void> {
  const inputs = stepInputs.release(chosenEpoch(run, 'sft').adapter, chosenEpoch(run, 'curriculum').adapter);
  const params = { ...releaseParams(run, sources), ...(carriesAll(run.state) ? {} : { run: run.id }) };
  await once(run, 'release', inputs, params);
}

async function renderReport(run: Run): Promise<void> {
  const { key } = run.state.results['release'] as StepResult<unknown>;
  const params: RenderReportParams = { release: key, runId: run.id, name: run.config.name };
  await once(run, 'report', {}, params);
}

/** A step outside the training stages. Its result is carried along, so it is not even looked up a second time. */
async function once<Result>(
  run: Run,
  id: string,
  inputs: Record<string, ArtifactRef>,
  params: unknown,
): Promise<StepResult<Result>> {
  run.state.results[id] ??= await runStep(run, { ...planned(run, id), inputs, params });
  return run.state.results[id] as StepResult<Result>;
}

function trainEpoch(
  run: Run,
  data: Data,
  stage: 'sft' | 'curriculum',
  epoch: number,
  lambda: number,
  distilled?: ArtifactRef,
): Promise<StepResult<Omit<TrainEpochResult, 'stepLosses'>>> {
  const before = run.state[stage].last;
  const name = stage === 'sft' ? 'sft' : 'soft';
  const warmStart = stage === 'sft' ? run.config.sft.warmStart?.adapter : undefined;
  return runStep(run, {
    ...planned(run, `${name}-${epoch}-train`),
    inputs: stepInputs.trainEpoch(data, lambda, before?.state, distilled, warmStart),
    params: stepParams(run.config, data.sources).trainEpoch(name, epoch, lambda),
  });
}

async function evaluate(
  run: Run,
  data: Data,
  embeddings: ArtifactRef,
  id: string,
  adapter: ArtifactRef,
): Promise<Metrics> {
  const { result } = await runStep<Metrics>(run, {
    ...planned(run, id),
    inputs: stepInputs.validate(data, embeddings, adapter),
    params: stepParams(run.config, data.sources).evaluate(),
  });
  return result;
}

/** Without an adapter: of the base model. */
async function measureDistance(
  run: Run,
  data: Data,
  embeddings: ArtifactRef,
  id: string,
  adapter?: ArtifactRef,
): Promise<number> {
  const { result } = await runStep<DistanceResult>(run, {
    ...planned(run, id),
    inputs: stepInputs.measureDistance(data, embeddings, adapter),
    params: stepParams(run.config, data.sources).measureDistance(),
  });
  return result.distance;
}

function planned(run: Run, id: string) {
  const { sft, curriculum } = run.state;
  const around = { sft: epochOf(sft), curriculum: epochOf(curriculum) };
  const entry = plannedSteps(run.config, around).find((step) => step.id === id);
  if (!entry) throw new Error(`step ${id} is not in the plan`);
  const { stage, step, label } = entry;
  return { id, stage, step, label };
}

/** A run that could not be judged in the end does not begin to train. */
function requireTestWindows({ config, state }: Run): void {
  const { windows } = (state.results['prepare'] as StepResult<PrepareDataResult>).result;
  if (windows.test > 0) return;
  const { trainUntil, testAfter = trainUntil } = config.data;
  throw new SoftflowError(
    'DATA_NO_WINDOWS',
    `Expected at least one test window with a target after ${testAfter}, found none. Set data.trainUntil or data.testAfter earlier, ` +
      'or bring later interactions.',
    { details: { testAfter, windows } },
  );
}

function requireCatalogue(titles: number, ks: number[]): void {
  const largest = Math.max(...ks);
  if (titles >= largest) return;
  throw new SoftflowError(
    'CATALOGUE_TOO_SMALL',
    `Expected at least ${largest} distinct titles for evaluation.ks, found ${titles}. ` +
      'Lower evaluation.ks or data.kCore, or bring more items.',
    { details: { expected: largest, found: titles } },
  );
}
