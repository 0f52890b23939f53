import type { StepName, StepResult } from '../activities/contracts.ts';
import type { OutlookInput, StepOutlook } from '../activities/step-outlook.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { digestOf } from '../artifacts/canonical-json.ts';
import type { RunStatus, StepStatus } from '../workflows/run-state.ts';

/** What would become of one step if its run began now. */
export interface StepPlan extends Pick<StepStatus, 'id' | 'stage' | 'step' | 'label'> {
  action: 'run' | 'reuse' | 'resume';
  /** Why, in words. */
  reason: string;
  /** Labels of the steps whose results must be known first. */
  dependsOn: string[];
  /** An early stop would spare it. */
  optional: boolean;
  /** The step key, once every input is known. */
  key?: string;
  /** The same in plans of several runs for a step that they would have in common, also while its key is not known. */
  identity: string;
}

/** Stands for a result that is not there yet. */
export class Pending {
  /** Labels of the steps that make it. */
  readonly of: readonly string[];
  /** All that it depends on, as a digest. */
  readonly identity: string;
  constructor(of: readonly string[], ...dependsOn: unknown[]) {
    this.of = of;
    this.identity = digestOf(dependsOn.map(identified));
  }
}

/** With what is not known replaced by all that it depends on. */
const identified = (value: unknown): unknown => (value instanceof Pending ? { pending: value.identity } : value);

/** An artifact, or what stands for one that is not made yet. */
export type PlannedRef = ArtifactRef | Pending;

export interface PlannerDeps {
  /** Looks a step up as a run would. */
  outlook(input: OutlookInput): Promise<StepOutlook>;
  /** Statuses of earlier runs, newest first. */
  earlier: readonly RunStatus[];
}

export interface PlannedStep {
  plan: StepPlan;
  /** When it is done already. */
  found?: StepResult<unknown>;
  output(name: string): PlannedRef;
}

/** Asks for each step of a plan whether it is done, half done or to be run, and why. */
export class StepPlanner {
  readonly plans: StepPlan[] = [];
  readonly #deps: PlannerDeps;
  /** Which step made an artifact, by its digest. */
  readonly #makers = new Map<string, string>();

  constructor(deps: PlannerDeps) {
    this.#deps = deps;
  }

  async step(
    { id, stage, step, label }: StepStatus,
    inputs: Record<string, PlannedRef>,
    params: unknown,
    optional = false,
  ): Promise<PlannedStep> {
    const dependsOn = [
      ...new Set([...Object.values(inputs), params].flatMap((value) => (value instanceof Pending ? value.of : []))),
    ];
    const outlook = await this.#deps.outlook({
      step,
      inputs: known(inputs),
      params: params instanceof Pending ? undefined : params,
      complete: dependsOn.length === 0,
      earlier: this.#earlierKeys(id, step),
    });
    const { key, found } = outlook;
    const plan: StepPlan = {
      ...{ id, stage, step, label, optional, dependsOn },
      action: found ? 'reuse' : outlook.resumable ? 'resume' : 'run',
      reason: this.#reason(outlook, dependsOn, inputs),
      ...(key === undefined ? {} : { key }),
      identity: key ?? identityOf(step, inputs, params),
    };
    this.plans.push(plan);
    for (const ref of Object.values(found?.outputs ?? {})) this.#makers.set(ref.sha256, label);
    return {
      plan,
      ...(found ? { found } : {}),
      output: (name) => found?.outputs[name] ?? new Pending([label], plan.identity, name),
    };
  }

  #earlierKeys(id: string, step: StepName): string[] {
    return this.#deps.earlier.flatMap(({ steps }) =>
      steps.flatMap((each) => (each.id === id && each.step === step && each.key ? [each.key] : [])),
    );
  }

  #reason(outlook: StepOutlook, dependsOn: readonly string[], inputs: Record<string, PlannedRef>): string {
    const { key, found, resumable, changes, changedInputs } = outlook;
    if (found) return `done${this.#runThatMade(key)}`;
    const causes = (changes ?? []).map(({ path, before, after }) => `${path} ${before} -> ${after}`);
    if (resumable) return `from ${resumable}`;
    if (dependsOn.length > 0) return [`after ${dependsOn.join(', ')}`, ...causes].join('; ');
    causes.push(...changedInputs.map((role) => this.#otherInput(role, inputs[role])));
    if (causes.length > 0) return causes.join(', ');
    return changes === undefined ? 'not done before in this store' : 'its result is no longer in the store';
  }

  #runThatMade(key: string | undefined): string {
    const run = this.#deps.earlier.findLast(({ steps }) => steps.some((step) => step.key === key));
    return run ? ` by ${run.runId}` : '';
  }

  #otherInput(role: string, ref: PlannedRef | undefined): string {
    const maker = ref && !(ref instanceof Pending) ? this.#makers.get(ref.sha256) : undefined;
    return `another ${role}${maker ? ` from ${maker}` : ''}`;
  }
}

function identityOf(step: StepName, inputs: Record<string, PlannedRef>, params: unknown): string {
  const roles = Object.entries(inputs).map(([role, ref]) => [role, ref instanceof Pending ? ref.identity : ref.sha256]);
  return digestOf({ step, inputs: Object.fromEntries(roles), params: identified(params) });
}

function known(inputs: Record<string, PlannedRef>): Record<string, ArtifactRef> {
  return Object.fromEntries(
    Object.entries(inputs).filter((entry): entry is [string, ArtifactRef] => !(entry[1] instanceof Pending)),
  );
}
