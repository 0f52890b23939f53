import type { ArtifactRef } from '../artifacts/artifact-ref.ts';
import { canonicalJson } from '../artifacts/canonical-json.ts';
import type { Store } from '../artifacts/store.ts';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, encodePeftConfig } from '../model/peft.ts';
import { renderModelCard } from '../report/model-card.ts';
import { buildRunSummary, metricsJson } from '../report/run-summary.ts';
import type { LoraParams, ModelSource, ReleaseParams, ReleaseResult, StepInput } from './contracts.ts';
import { gatherRun } from './gather-run.ts';

/**
 * Puts together what a run hands out: the SOFT adapter as a PEFT folder, metrics and lineage. Outputs are named by their
 * path in a run's folder. Holds results only: the same run gives the same bytes.
 */
export async function release(store: Store, { inputs, params }: StepInput<ReleaseParams>) {
  const adapters = inputs as { sftAdapter: ArtifactRef; softAdapter: ArtifactRef };
  const digests = { sftAdapter: adapters.sftAdapter.sha256, softAdapter: adapters.softAdapter.sha256 };
  const summary = buildRunSummary(await gatherRun(store, params, digests, { runId: '', name: '', reused: new Set() }));
  const { model, lora } = params.config as { model: { source: ModelSource }; lora: LoraParams };
  const put = (text: string) => store.putBytes(Buffer.from(text));
  const result: ReleaseResult = { chosen: params.chosen };
  return {
    outputs: {
      'metrics.json': await put(canonicalJson(metricsJson(summary))),
      'lineage.json': await put(canonicalJson(await lineageOf(store, params))),
      [`adapter/${ADAPTER_CONFIG}`]: await store.putBytes(encodePeftConfig(lora, baseModelName(model.source))),
      [`adapter/${ADAPTER_WEIGHTS}`]: adapters.softAdapter,
      'adapter/README.md': await put(renderModelCard(summary)),
    },
    result,
  };
}

/** Every artifact of the run with digest, schema and rows, and the step that made it. */
export async function lineageOf(store: Store, { config, steps, sources }: ReleaseParams) {
  const rows = await Promise.all(
    steps.map(async ({ id, step, key }) => {
      const manifest = await store.readManifest(key);
      return { id, step, key, inputs: manifest?.inputs ?? {}, outputs: manifest?.outputs ?? {} };
    }),
  );
  return { model: { digest: sources.model.digest }, data: { ...sources.data, ...cutOffOf(config) }, steps: rows };
}

/** As of when the data is, and how it was split in time; nothing for a run without a cut-off. */
function cutOffOf(config: unknown): Record<string, unknown> {
  const { data = {} } = config as { data?: Record<string, unknown> };
  const names = ['asOf', 'knownAt', 'trainUntil', 'testAfter'];
  return Object.fromEntries(names.flatMap((name) => (data[name] === undefined ? [] : [[name, data[name]]])));
}

const REGISTRY_NAMES: Record<string, string> = { 'smollm2-135m-instruct': 'HuggingFaceTB/SmolLM2-135M-Instruct' };

function baseModelName(source: ModelSource): string {
  if ('registry' in source) return REGISTRY_NAMES[source.registry] ?? source.registry;
  if ('hub' in source) return source.hub;
  return 'folder' in source ? source.folder : source.gguf;
}
