import { randomUUID } from 'node:crypto';
import type { DistanceResult, Metrics, PrepareDataResult, Sources, StepResult } from '../activities/contracts.ts';
import type { Store } from '../artifacts/store.ts';
import { curriculumLambda } from '../workflows/curriculum.ts';
import { releaseParams } from '../workflows/release-params.ts';
import type { RunConfig } from '../workflows/run-config.ts';
import { maxEpochs, plannedSteps } from '../workflows/run-plan.ts';
import { initialState, type RunStatus, type StepStatus, type TrainingStage } from '../workflows/run-state.ts';
import { type DataRefs, stepInputs } from '../workflows/step-inputs.ts';
import { settingsOfResults, stepParams } from '../workflows/step-params.ts';
import { addEpoch, chosenEpoch, dropPending, goesOn, type RunSoFar } from '../workflows/training-stage.ts';
import { Runs } from './runs.ts';
import {
  Pending,
  type PlannedRef,
  type PlannedStep,
  type PlannerDeps,
  type StepPlan,
  StepPlanner,
} from './step-planner.ts';

export { prepareDataParams, sourceNames } from '../workflows/step-params.ts';

export interface RunPlan {
  sources: Sources;
  /** Every step that the run may take, in order. */
  steps: StepPlan[];
  /** The prepared data, when that step is done. */
  prepared?: StepResult<PrepareDataResult>;
}

/**
 * Goes through the method as `softWorkflow` does, with the same parameters, inputs and decisions, but computes nothing:
 * what is done is followed, what is not stands as pending in the inputs of what comes after it.
 */
export async function planRun(config: RunConfig, sources: Sources, deps: PlannerDeps): Promise<RunPlan> {
  const planning = new Planning(config, sources, deps);
  const prepared = await planning.prepare();
  await planning.method(prepared);
  const found = prepared.found as StepResult<PrepareDataResult> | undefined;
  return { sources, steps: planning.plans, ...(found ? { prepared: found } : {}) };
}

/** How many of the newest runs a plan is compared with. */
const COMPARED_RUNS = 50;

/** Where the newest runs stand or ended, newest first. */
export async function earlierRuns(store: Store): Promise<RunStatus[]> {
  const ids = (await new Runs({ store }).list()).slice(0, COMPARED_RUNS);
  const records = await Promise.all(ids.map((runId) => store.readRunRecord(runId, 'status')));
  return records.flatMap((record) => (record ? [record.value as RunStatus] : []));
}

type Params = ReturnType<typeof stepParams>;

class Planning {
  readonly #run: RunSoFar;
  readonly #sources: Sources;
  readonly #params: Params;
  readonly #planner: StepPlanner;

  constructor(config: RunConfig, sources: Sources, deps: PlannerDeps) {
    this.#run = { config, state: initialState(config.soft.curriculumAlpha, plannedSteps(config)) };
    this.#sources = sources;
    this.#params = stepParams(config, sources);
    this.#planner = new StepPlanner(deps);
  }

  get plans(): StepPlan[] {
    return this.#planner.plans;
  }

  prepare(): Promise<PlannedStep> {
    return this.#step('prepare', {}, this.#params.prepareData());
  }

  async method({ output }: PlannedStep): Promise<void> {
    const data: DataRefs<PlannedRef> = {
      items: output('items'),
      titles: output('titles'),
      train: output('windowsTrain'),
      valid: output('windowsValid'),
      test: output('windowsTest'),
    };
    const encoded = await this.#step('encode', stepInputs.encodeTitles(data), this.#params.encodeTitles());
    const embeddings = encoded.output('embeddings');
    const sftAdapter = await this.#fineTune(data, embeddings);
    const distilling = stepInputs.selfDistill(data, sftAdapter);
    const distilled = (await this.#step('self-distil', distilling, this.#params.selfDistill())).output('distilled');
    const softAdapter = await this.#curriculum(data, embeddings, distilled);
    await this.#test(data, embeddings, sftAdapter, softAdapter);
    await this.#release(sftAdapter, softAdapter);
  }

  async #fineTune(data: DataRefs<PlannedRef>, embeddings: PlannedRef): Promise<PlannedRef> {
    return this.#epochs('sft', async (epoch, before, optional) => {
      const params = this.#params.trainEpoch('sft', epoch, 0);
      const warmStart = this.#run.config.sft.warmStart?.adapter;
      const trained = await this.#step(
        `sft-${epoch}-train`,
        stepInputs.trainEpoch(data, 0, before, undefined, warmStart),
        params,
        optional,
      );
      const validated = await this.#validate(`sft-${epoch}-validate`, data, embeddings, trained, optional);
      return { trained, validated, lambda: 0, distance: null, distanceAfter: null };
    });
  }

  async #curriculum(data: DataRefs<PlannedRef>, embeddings: PlannedRef, distilled: PlannedRef): Promise<PlannedRef> {
    const distanceParams = this.#params.measureDistance();
    const inputs = stepInputs.measureDistance(data, embeddings);
    const initial = distanceOf(await this.#step('soft-0-distance', inputs, distanceParams));
    let distance = initial;
    return this.#epochs('curriculum', async (epoch, before, optional) => {
      const lambda = this.#lambda(epoch, distance, initial);
      const trained = await this.#step(
        `soft-${epoch}-train`,
        // A round whose lambda is not known yet has one above 0: the distance never reaches it.
        stepInputs.trainEpoch(data, lambda instanceof Pending ? 1 : lambda, before, distilled),
        lambda instanceof Pending ? lambda : this.#params.trainEpoch('soft', epoch, lambda),
        optional,
      );
      const measured = await this.#step(
        `soft-${epoch}-distance`,
        stepInputs.measureDistance(data, embeddings, trained.output('adapter')),
        distanceParams,
        optional,
      );
      const validated = await this.#validate(`soft-${epoch}-validate`, data, embeddings, trained, optional);
      const row = { lambda: known(lambda), distance: known(distance), distanceAfter: known(distanceOf(measured)) };
      distance = distanceOf(measured);
      return { trained, validated, ...row };
    });
  }

  /** The first round begins at the initial distance, whatever that is. */
  #lambda(epoch: number, distance: number | Pending, initial: number | Pending): number | Pending {
    const { curriculumAlpha } = this.#run.state;
    if (epoch === 1) return curriculumLambda(curriculumAlpha, 1, 1);
    if (distance instanceof Pending || initial instanceof Pending)
      return new Pending(openOf(distance, initial), curriculumAlpha, distance, initial);
    return curriculumLambda(curriculumAlpha, distance, initial);
  }

  #validate(
    id: string,
    data: DataRefs<PlannedRef>,
    embeddings: PlannedRef,
    trained: PlannedStep,
    optional: boolean,
  ): Promise<PlannedStep> {
    const inputs = stepInputs.validate(data, embeddings, trained.output('adapter'));
    return this.#step(id, inputs, this.#params.evaluate(), optional);
  }

  /** Plans epochs while the results of those before are known, then as many as there may be; returns the chosen adapter. */
  async #epochs(
    stage: TrainingStage,
    plan: (epoch: number, before: PlannedRef | undefined, optional: boolean) => Promise<PlannedEpoch>,
  ): Promise<PlannedRef> {
    const { config, state } = this.#run;
    let before: PlannedRef | undefined;
    let open: string | undefined;
    const epochs: unknown[] = [];
    for (let epoch = 1; open === undefined ? goesOn(this.#run, stage) : epoch <= maxEpochs(config, stage); epoch++) {
      const optional = epoch > (state[stage].best?.epoch ?? 1) + config.train.patience;
      const planned = await plan(epoch, before, optional);
      before = planned.trained.output('state');
      epochs.push(planned.trained.plan.identity, planned.validated.plan.identity);
      if (open === undefined && this.#follow(stage, epoch, planned)) continue;
      open = (config.train.select === 'last' ? planned.trained : planned.validated).plan.label;
    }
    const { patience, select } = config.train;
    if (open !== undefined) return new Pending([open], epochs, patience, select, config.evaluation.metric);
    dropPending(this.#run, stage);
    return chosenEpoch(this.#run, stage).adapter;
  }

  /** Takes a whole epoch into the state that decides how the stage goes on. */
  #follow(stage: TrainingStage, epoch: number, planned: PlannedEpoch): boolean {
    const { trained, validated, lambda, distance, distanceAfter } = planned;
    const complete = stage === 'sft' || (lambda !== null && distance !== null && distanceAfter !== null);
    if (!trained.found || !validated.found || !complete) return false;
    const { trainLoss } = trained.found.result as { trainLoss: number };
    const validation = validated.found.result as Metrics;
    const row = { epoch, lambda: lambda ?? 0, distance, distanceAfter, trainLoss, validation };
    addEpoch(this.#run, stage, trained.found, row);
    return true;
  }

  async #test(
    data: DataRefs<PlannedRef>,
    embeddings: PlannedRef,
    sftAdapter: PlannedRef,
    softAdapter: PlannedRef,
  ): Promise<void> {
    const params = this.#params.evaluate();
    await this.#step('test-popularity', stepInputs.testPopularity(data), this.#params.evaluatePopularity());
    if (this.#run.config.evaluation.zeroShot)
      await this.#step('test-zeroShot', stepInputs.test(data, embeddings), params);
    await this.#step('test-sft', stepInputs.test(data, embeddings, sftAdapter), params);
    await this.#step('test-soft', stepInputs.test(data, embeddings, softAdapter), params);
  }

  async #release(sftAdapter: PlannedRef, softAdapter: PlannedRef): Promise<void> {
    const inputs = stepInputs.release(sftAdapter, softAdapter);
    const open = openOf(sftAdapter, softAdapter);
    const settings = settingsOfResults(this.#run.config);
    const params =
      open.length > 0 ? new Pending(open, settings, sftAdapter, softAdapter) : releaseParams(this.#run, this.#sources);
    const { plan } = await this.#step('release', inputs, params);
    const { id, stage, step, label } = this.#planned('report');
    const report = { id, stage, step, label, action: 'run' as const, optional: false, identity: randomUUID() };
    this.plans.push({
      ...report,
      reason: 'every run has its own',
      dependsOn: plan.action === 'reuse' ? [] : [plan.label],
    });
  }

  async #step(id: string, inputs: Record<string, PlannedRef>, params: unknown, optional = false): Promise<PlannedStep> {
    const entry = this.#planned(id);
    const step = await this.#planner.step(entry, inputs, params, optional);
    const { key, action } = step.plan;
    if (key !== undefined) entry.key = key;
    if (action === 'reuse') entry.state = 'reused';
    return step;
  }

  #planned(id: string): StepStatus {
    const entry = this.#run.state.steps.find((step) => step.id === id);
    if (!entry) throw new Error(`step ${id} is not in the plan`);
    return entry;
  }
}

interface PlannedEpoch {
  trained: PlannedStep;
  validated: PlannedStep;
  /** Null where the stage has none, or it is not known. */
  lambda: number | null;
  distance: number | null;
  distanceAfter: number | null;
}

function distanceOf({ plan, found }: PlannedStep): number | Pending {
  return found ? (found.result as DistanceResult).distance : new Pending([plan.label], plan.identity);
}

/** Labels of the steps that must be done before all of these are known. */
const openOf = (...values: unknown[]): string[] =>
  values.flatMap((value) => (value instanceof Pending ? value.of : []));

const known = (value: number | Pending): number | null => (value instanceof Pending ? null : value);
