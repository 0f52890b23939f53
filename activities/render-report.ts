import { readRunStatus } from '../artifacts/run-status.ts';
import type { Manifest, Store } from '../artifacts/store.ts';
import { SoftflowError } from '../errors.ts';
import { buildRunSummary, telemetryJson } from '../report/run-summary.ts';
import type { RunSummary } from '../report/summary-types.ts';
import type { ReleaseParams, RenderReportParams, StepInput } from './contracts.ts';
import { drawReport } from './draw-report.ts';
import { gatherRun } from './gather-run.ts';
import { lineageOf } from './release.ts';
import { RUN_RECORDS } from './run-records.ts';

/** What belongs to one run and not to its results: the report, the timings, the resolved config with its lineage. */
export async function renderReport(store: Store, { params }: StepInput<RenderReportParams>) {
  const { runId, name } = params;
  const manifest = await requireRelease(store, params.release);
  const release = manifest.params as ReleaseParams;
  const digests = manifest.inputs as { sftAdapter: string; softAdapter: string };
  const identity = { runId, name, reused: await reusedSteps(store, runId), ...(await recipeOf(store, runId)) };
  const summary = buildRunSummary(await gatherRun(store, release, digests, identity));
  const put = (text: string) => store.putBytes(Buffer.from(text));
  return {
    outputs: {
      'report.html': await put(await drawReport(summary)),
      'summary.json': await put(`${JSON.stringify(summary)}\n`),
      'telemetry.json': await put(`${JSON.stringify(telemetryJson(summary), null, 2)}\n`),
      'run.json': await put(`${JSON.stringify(await describeRun(store, params, release, summary), null, 2)}\n`),
    },
    result: null,
  };
}

async function describeRun(
  store: Store,
  { runId, name }: RenderReportParams,
  release: ReleaseParams,
  summary: RunSummary,
) {
  const config = (await store.readRunRecord(runId, RUN_RECORDS.config))?.value ?? release.config;
  const { fingerprint, data } = summary;
  return { runId, name, config, fingerprint, splitHash: data.splitHash, lineage: await lineageOf(store, release) };
}

async function recipeOf(store: Store, runId: string): Promise<{ recipe?: string }> {
  const start = (await store.readRunRecord(runId, RUN_RECORDS.start))?.value as { recipe?: string } | undefined;
  return start?.recipe === undefined ? {} : { recipe: start.recipe };
}

async function reusedSteps(store: Store, runId: string): Promise<ReadonlySet<string>> {
  const status = (await readRunStatus(store, runId)) as { steps: { id: string; state: string }[] } | undefined;
  return new Set((status?.steps ?? []).filter(({ state }) => state === 'reused').map(({ id }) => id));
}

async function requireRelease(store: Store, key: string): Promise<Manifest> {
  const manifest = await store.readManifest(key);
  if (manifest) return manifest;
  throw new SoftflowError('STEP_MISSING', `The release ${key} is not in the store. Resume the run to make it again.`);
}
