import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { canonicalJson } from '../artifacts/canonical-json.ts';
import { inputDigests } from '../artifacts/step-key.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { CONTRACT_VERSIONS, type LookUpResult, type StepName } from './contracts.ts';
import { lookUpStep } from './look-up-step.ts';
import { keyParams } from './step-result.ts';

export interface OutlookInput {
  step: StepName;
  /** Those that are known. */
  inputs: Record<string, ArtifactRef>;
  /** Undefined while they depend on a result that is not known. */
  params: unknown;
  /** Whether every input and parameter is known, and with them the key. */
  complete: boolean;
  /** Keys of the same step in earlier runs, newest first. */
  earlier: readonly string[];
}

/** A parameter that differs from an earlier run's, by its key in the recipe. */
export interface StepChange {
  path: string;
  before: string;
  after: string;
}

/** What would become of a step if its run began now. */
export interface StepOutlook extends Partial<LookUpResult> {
  /** Against the most similar earlier one; undefined when the store has none. */
  changes?: StepChange[];
  /** Roles of inputs that differ from those of that one. */
  changedInputs: string[];
}

/**
 * Looks a step up as a run would, and says how it differs from the most similar one that is done.
 * @param store absent where there is none yet
 */
export async function stepOutlook(store: Store | undefined, input: OutlookInput): Promise<StepOutlook> {
  if (store === undefined) return { changedInputs: [] };
  const looked: Partial<LookUpResult> = input.complete ? await lookUpStep(store, input) : {};
  if (looked.found) return { ...looked, changes: [], changedInputs: [] };
  const manifests = await Promise.all([...new Set(input.earlier)].map((key) => store.readManifest(key)));
  const compared = manifests.flatMap((manifest) => (manifest ? [compare(input, manifest)] : []));
  const size = ({ changes, changedInputs }: (typeof compared)[number]) => changes.length + changedInputs.length;
  const nearest = compared.reduce<(typeof compared)[number] | undefined>(
    (best, each) => (best === undefined || size(each) < size(best) ? each : best),
    undefined,
  );
  return { ...looked, ...(nearest ?? { changedInputs: [] }) };
}

function compare(input: OutlookInput, manifest: Manifest): { changes: StepChange[]; changedInputs: string[] } {
  const now = inputDigests(input.inputs);
  const changedInputs = Object.keys(now).filter((role) => now[role] !== manifest.inputs[role]);
  const version = CONTRACT_VERSIONS[input.step];
  const changes =
    version === manifest.contractVersion
      ? []
      : [{ path: "softflow's code of this step", before: `version ${manifest.contractVersion}`, after: `${version}` }];
  if (input.params !== undefined)
    changes.push(...differences(firstAttempt(manifest.params), firstAttempt(keyParams(input.params))));
  return { changes, changedInputs };
}

/** That something was computed once more is no difference of settings. */
function firstAttempt(params: unknown): unknown {
  const { attempt: _, ...rest } = params as { attempt?: string };
  return rest;
}

function differences(before: unknown, after: unknown): StepChange[] {
  const [old, now] = [flatten(before), flatten(after)];
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter((path) => old.get(path) !== now.get(path))
    .map((path) => ({ path: recipeKey(path), before: shown(old.get(path)), after: shown(now.get(path)) }));
}

/** Every value by its dotted path, as canonical JSON; a list is one value. */
function flatten(value: unknown, path = ''): Map<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return new Map([[path, canonicalJson(value)]]);
  return new Map(
    Object.entries(value).flatMap(([key, child]) => [...flatten(child, path === '' ? key : `${path}.${key}`)]),
  );
}

/** Where parameters of steps stand in the recipe, when not under the same name. */
const RECIPE_KEYS: [pattern: RegExp, key: string][] = [
  [/^config\./, ''],
  [/^(sources\.)?model(\.digest)?$/, 'model.source'],
  [/^sources\.data\.digest$|^data\.source$/, 'data.source'],
  [/^precision$/, 'model.precision'],
  [/^optimizer\./, 'train.'],
  [/^(batchSize|microBatchSize|lossAverage)$/, 'train.$1'],
  [/^prompts$/, 'soft.distancePrompts'],
  [/^ks$/, 'evaluation.ks'],
  [/^tileRows$/, 'encode.tileRows'],
];

function recipeKey(path: string): string {
  const rule = RECIPE_KEYS.find(([pattern]) => pattern.test(path));
  return rule ? path.replace(...rule) : path;
}

/** A digest stands for contents that nobody reads as hex. */
function shown(value: string | undefined): string {
  if (value === undefined) return 'nothing';
  if (/^"[0-9a-f]{64}"$/.test(value)) return `${value.slice(1, 9)}...`;
  return value.length > 60 ? `${value.slice(0, 57)}...` : value;
}
