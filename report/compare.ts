import { SoftflowError } from '../errors.ts';
import { bootstrapDifference, type Difference, verdict } from './bootstrap.ts';
import { gains, hitRateAt, ndcgAt } from './metrics.ts';
import type { SliceKind } from './slices.ts';
import { type MetricKind, MODEL_IDS, type ModelId, type RunSummary } from './summary-types.ts';

/** A field of the recipe that two runs do not share; a side without it is undefined. */
export interface ConfigDifference {
  /** `soft.curriculumAlpha`. */
  key: string;
  first: unknown;
  second: unknown;
}

/** The same model of two runs on the same windows; `difference` is second - first. */
export interface PairedResult {
  model: ModelId;
  kind: MetricKind;
  k: number;
  first: number;
  second: number;
  difference: Difference;
  verdict: ReturnType<typeof verdict>;
}

export interface PairedSlice extends PairedResult {
  by: SliceKind;
  label: string;
  windows: number;
}

/** Two runs beside each other: plain JSON, the shape of `softflow compare --json`. */
export interface RunComparison {
  first: { runId: string; name: string };
  second: { runId: string; name: string };
  config: ConfigDifference[];
  windows: number;
  titles: number;
  k: number;
  results: PairedResult[];
  /** HR@k of SFT and SOFT on each slice. */
  slices: PairedSlice[];
}

/** Which tables must be the same bytes for two rankings to be comparable. */
const SHARED_TABLES = ['windowsTest', 'items', 'titles'];
const SLICED: readonly ModelId[] = ['sft', 'soft'];

/**
 * Compares two finished runs window by window, over the whole and slice by slice.
 * @param k cut-off of the metrics; by default the headline K of the first run
 * @throws SoftflowError `COMPARE_REFUSED` when the runs do not rank the same titles for the same windows, or lack `k`
 */
export function compareRuns(first: RunSummary, second: RunSummary, k = first.headlineK): RunComparison {
  const config = configDifferences(first.config, second.config);
  assertSameWindows(first, second, config);
  assertMeasured(first, second, k);
  const seed = first.config.seed;
  const ranksOf = (run: RunSummary, id: ModelId) => run.models.find((model) => model.id === id)?.ranks;
  const models = MODEL_IDS.flatMap((model) => {
    const [a, b] = [ranksOf(first, model), ranksOf(second, model)];
    return a && b ? [{ model, a, b }] : [];
  });
  const pick = (ranks: readonly number[], rows: readonly number[]) => rows.map((row) => ranks[row] as number);
  return {
    first: { runId: first.runId, name: first.name },
    second: { runId: second.runId, name: second.name },
    config,
    windows: first.data.windows.test,
    titles: first.data.titles,
    k,
    results: models.flatMap(({ model, a, b }) => [
      pairedResult(model, 'hr', k, a, b, seed),
      pairedResult(model, 'ndcg', k, a, b, seed),
    ]),
    slices: (first.slices ?? []).flatMap(({ by, label, rows }) =>
      models
        .filter(({ model }) => SLICED.includes(model))
        .map(({ model, a, b }) => ({
          by,
          label,
          windows: rows.length,
          ...pairedResult(model, 'hr', k, pick(a, rows), pick(b, rows), seed),
        })),
    ),
  };
}

function pairedResult(
  model: ModelId,
  kind: MetricKind,
  k: number,
  first: readonly number[],
  second: readonly number[],
  seed: number,
): PairedResult {
  const metric = kind === 'hr' ? hitRateAt : ndcgAt;
  const difference = bootstrapDifference(gains(second, k, kind), gains(first, k, kind), { seed });
  return {
    model,
    kind,
    k,
    first: metric(first, k),
    second: metric(second, k),
    difference,
    verdict: verdict(difference),
  };
}

/** Fields that differ, by their dotted path, sorted; the name of a run is no setting. */
export function configDifferences(first: object, second: object): ConfigDifference[] {
  const [a, b] = [leaves(first), leaves(second)];
  return [...new Set([...a.keys(), ...b.keys()])]
    .filter((key) => key !== 'name' && JSON.stringify(a.get(key)) !== JSON.stringify(b.get(key)))
    .sort()
    .map((key) => ({ key, first: a.get(key), second: b.get(key) }));
}

function leaves(value: object, path = ''): Map<string, unknown> {
  return new Map(
    Object.entries(value).flatMap(([key, inner]): [string, unknown][] => {
      const place = path === '' ? key : `${path}.${key}`;
      const nested = typeof inner === 'object' && inner !== null && !Array.isArray(inner);
      return nested ? [...leaves(inner as object, place)] : [[place, inner]];
    }),
  );
}

function assertSameWindows(first: RunSummary, second: RunSummary, config: readonly ConfigDifference[]): void {
  const other = SHARED_TABLES.filter((name) => digestOfTable(first, name) !== digestOfTable(second, name));
  if (other.length === 0) return;
  const causes = config.filter(({ key }) => key === 'seed' || key.startsWith('data.')).map(({ key }) => key);
  const why =
    causes.length > 0 ? `their recipes differ in ${causes.join(', ')}` : 'the data files are not those of before';
  throw new SoftflowError(
    'COMPARE_REFUSED',
    `${first.runId} and ${second.runId} were not tested on the same windows and titles: ${why} ` +
      `(${first.data.windows.test} and ${second.data.windows.test} test windows, ${first.data.titles} and ${second.data.titles} titles). ` +
      'A difference would not be due to the models. Run one of them again on the data of the other.',
    { details: { differing: other, causes } },
  );
}

function digestOfTable(run: RunSummary, name: string): string | undefined {
  return run.lineage.find(({ step }) => step === 'prepareData')?.artifacts.find((artifact) => artifact.name === name)
    ?.sha256;
}

/** Ranks are exact, so any K could be asked for; one that a run did not measure is most often a slip. */
function assertMeasured(first: RunSummary, second: RunSummary, k: number): void {
  const shared = first.ks.filter((value) => second.ks.includes(value));
  if (shared.includes(k)) return;
  throw new SoftflowError(
    'COMPARE_REFUSED',
    `Expected a K that both runs measured (${shared.join(', ') || 'they share none'}), got ${k}.`,
  );
}
