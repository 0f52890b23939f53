import type { MergeAdapterParams, RecommendParams } from '../activities/tool-contracts.ts';
import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { SoftflowError } from '../errors.ts';
import { stepParams } from '../workflows/step-params.ts';
import type { ReleasedRun } from './run-results.ts';

/** What the trainer is given for a job that belongs to no run. */
export interface ToolInput<Params> {
  inputs: Record<string, ArtifactRef>;
  params: Params;
}

const ADAPTER = 'adapter/adapter_model.safetensors';

/** The released adapter. @throws SoftflowError `STEP_OUTPUT_MISSING` */
export function releasedAdapter({ runId, files }: ReleasedRun): ArtifactRef {
  const ref = files[ADAPTER];
  if (ref) return ref;
  throw new SoftflowError('STEP_OUTPUT_MISSING', `Expected a file ${ADAPTER} of the run ${runId}, found none.`);
}

/** Recommending with the settings under which the run was evaluated. */
export async function recommendInput(
  run: ReleasedRun,
  windows: ArtifactRef,
  { k, excludeHistory }: { k: number; excludeHistory: boolean },
): Promise<ToolInput<RecommendParams>> {
  const { ks: _, ...generating } = stepParams(run.config, run.params.sources).evaluate();
  return {
    inputs: {
      windows,
      items: await run.output('prepare', 'items'),
      titles: await run.output('prepare', 'titles'),
      embeddings: await run.output('encode', 'embeddings'),
      adapter: releasedAdapter(run),
    },
    params: { ...generating, k, excludeHistory },
  };
}

/** Merging the released adapter into its base model; verified on the first test prompts. */
export async function mergeInput(
  run: ReleasedRun,
  { folder, verifyPrompts }: { folder: string; verifyPrompts: number },
): Promise<ToolInput<MergeAdapterParams>> {
  const { model, precision, prompt, lora } = stepParams(run.config, run.params.sources).evaluate();
  return {
    inputs: {
      adapter: releasedAdapter(run),
      windows: await run.output('prepare', 'windowsTest'),
      items: await run.output('prepare', 'items'),
    },
    params: { model, precision, prompt, lora, folder, verifyPrompts },
  };
}
