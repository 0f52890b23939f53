import type { Progress } from '../activities/contracts.ts';
import type { Store } from '../artifacts/store.ts';
import { type ReleasedRun, readReleasedRun } from '../client/run-results.ts';
import { recommendInput } from '../client/tool-inputs.ts';
import type { HistoryReport } from '../datasets/histories.ts';
import type { ItemRow, RecommendationRow, TitleRow, WindowRow } from '../datasets/schemas.ts';
import { SoftflowError } from '../errors.ts';
import type { BackendChoice } from '../workers/backend-choices.ts';

export interface RecommendOptions {
  store: Store;
  runId: string;
  /** File of histories, one row an interaction: CSV, Parquet, JSON lines or Arrow. */
  users: string;
  /** File to write, `.csv`, `.parquet` or `.arrow`: user_id, rank, item_id, title, score. */
  output: string;
  /** Items a user. Default 20. */
  k?: number;
  /** Leaves out the titles of a user's own history. Default false, as in evaluation. */
  excludeHistory?: boolean;
  /** The file's own column names; those left out are guessed. */
  columns?: { user?: string; item?: string; time?: string };
  backend?: BackendChoice;
  onProgress?: (progress: Progress) => void;
  /** Ends the work; what is finished is kept for the next call, the output is not written. */
  signal?: AbortSignal;
}

export interface RecommendResult {
  runId: string;
  output: string;
  /** Users with recommendations, and rows written. */
  users: number;
  rows: number;
  histories: HistoryReport;
}

/**
 * Recommends the top K items of a finished run's catalogue to the people of a file, with the run's SOFT adapter.
 * A score is the negative distance of the title to the model's answer: higher is better.
 *
 * @throws SoftflowError `USAGE`, `RUN_UNFINISHED`, `NO_HISTORIES`, `INTERRUPTED`, and those of reading, computing, writing
 */
export async function recommend(options: RecommendOptions): Promise<RecommendResult> {
  const { store, runId, output } = options;
  const { requireFolderOf, requireOtherFile, resultFormat } = await import('../datasets/result-file.ts');
  resultFormat(output);
  requireOtherFile(options.users, output);
  requireFolderOf(output);
  const run = await readReleasedRun(store, runId);
  const catalogue = await readCatalogue(store, run);
  const { users, windows, report } = await readUsers(options, run.config.data.historyLength, catalogue.items);
  if (windows.length === 0) throw noHistories(options.users, report);
  const rows = await recommendToWindows(run, catalogue, { users, windows }, options);
  return { runId, output, users: users.length, rows, histories: report };
}

/** What is recommended from. */
export interface Catalogue {
  items: ItemRow[];
  titles: TitleRow[];
}

export async function readCatalogue(store: Store, run: ReleasedRun): Promise<Catalogue> {
  const { decodeItems, decodeTitles } = await import('../datasets/tables.ts');
  return {
    items: decodeItems(await store.getBytes(await run.output('prepare', 'items'))),
    titles: decodeTitles(await store.getBytes(await run.output('prepare', 'titles'))),
  };
}

export type WindowOptions = Omit<RecommendOptions, 'runId' | 'users' | 'columns'>;

/**
 * Computes what to recommend to the user of each window and writes it.
 * @returns rows written
 * @throws SoftflowError `USAGE` for more items than the catalogue has titles, and as `recommend`
 */
export async function recommendToWindows(
  run: ReleasedRun,
  { items, titles }: Catalogue,
  { users, windows }: { users: readonly string[]; windows: readonly WindowRow[] },
  options: WindowOptions,
): Promise<number> {
  const { store, output, k = 20, excludeHistory = false } = options;
  if (k > titles.length)
    throw new SoftflowError('USAGE', `Expected at most the catalogue's ${titles.length} titles a user, got -k ${k}.`);
  const [{ writeResultFile }, { decodeRecommendations, encodeWindows }, { runTool }] = await Promise.all([
    import('../datasets/result-file.ts'),
    import('../datasets/tables.ts'),
    import('../workers/run-tool.ts'),
  ]);
  const ref = await store.putBytes(encodeWindows(windows), { rows: windows.length, schema: 'windows' });
  const { outputs } = await runTool('recommend', await recommendInput(run, ref, { k, excludeHistory }), options);
  const found = decodeRecommendations(await store.getBytes(outputs['recommendations']!));
  let rows = 0;
  function* table() {
    for (const [i, row] of found.entries())
      for (const { titleRow, rank, score } of ranked(row)) {
        const title = titles[titleRow];
        rows++;
        yield [users[i] ?? '', rank, items[title?.firstItem ?? -1]?.itemId ?? '', title?.title ?? '', score];
      }
  }
  await writeResultFile(output, COLUMNS, table());
  return rows;
}

const COLUMNS = [
  { name: 'user_id', type: 'text' },
  { name: 'rank', type: 'integer' },
  { name: 'item_id', type: 'text' },
  { name: 'title', type: 'text' },
  { name: 'score', type: 'number' },
] as const;

function ranked({ titleRows, distances }: RecommendationRow) {
  return titleRows.map((titleRow, i) => ({ titleRow, rank: i + 1, score: 0 - (distances[i] as number) }));
}

async function readUsers(
  { users, columns = {} }: RecommendOptions,
  historyLength: number,
  items: readonly { itemId: string }[],
) {
  const [{ readHistories }, { withDuck }] = await Promise.all([
    import('../datasets/histories.ts'),
    import('../datasets/with-duck.ts'),
  ]);
  return withDuck((duck) => readHistories(users, { items, historyLength, columns, duck }));
}

function noHistories(path: string, { rows, badRows, unknownRows, unknownExamples }: HistoryReport): SoftflowError {
  return new SoftflowError(
    'NO_HISTORIES',
    `Expected histories of items that the model knows in ${path}; of ${rows} rows ${badRows} cannot be read and ${unknownRows} name unknown items (${unknownExamples.join(', ')}). Ids must be those of the training data (007 is not 7).`,
    { details: { path, rows, badRows, unknownRows } },
  );
}
