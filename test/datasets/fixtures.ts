import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { type PreparedData, type PrepareParams, prepareData } from '../../datasets/prepare.ts';
import { type Snapshot, snapshotSource } from '../../datasets/snapshot.ts';
import type { CsvSource, DataSource, ResolvedDataSource } from '../../datasets/sources/source.ts';
import { decodeItems, decodeTable, decodeTitles, decodeWindows } from '../../datasets/tables.ts';

export const COLUMNS: CsvSource['columns'] = {
  user: 'user_id',
  item: 'item_id',
  rating: null,
  time: 'timestamp',
  itemsItem: 'item_id',
  title: 'title',
};

export const PARAMS: PrepareParams = {
  title: { clean: true, year: 'keep', article: 'keep', missing: 'drop' },
  timeUnit: 'auto',
  ratingMin: null,
  kCore: 1,
  historyLength: 2,
  split: { train: 0.5, valid: 0.25 },
  samples: { train: 100, valid: 100, test: 100 },
  maxBadRows: 0.01,
  seed: 42,
};

const folders: string[] = [];
// Here and not where a folder is made: inside of a test a hook for the file's end comes too late.
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

/** A folder that is gone after the file's tests. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-datasets-'));
  folders.push(folder);
  return folder;
}

export async function csvPair(
  folder: string,
  interactions: string | Uint8Array,
  items: string | Uint8Array,
  options: Partial<CsvSource> & { names?: [string, string] } = {},
): Promise<{ csv: CsvSource }> {
  const { names = ['interactions.csv', 'items.csv'], ...rest } = options;
  const paths = { interactions: join(folder, names[0]), items: join(folder, names[1]) };
  await writeFile(paths.interactions, interactions);
  await writeFile(paths.items, items);
  return { csv: { ...paths, columns: COLUMNS, delimiter: ',', ...rest } };
}

/** Lines of `user,item,timestamp` below a header. */
export function interactionsCsv(rows: readonly (readonly [string, string, number | string])[]): string {
  return `user_id,item_id,timestamp\n${rows.map((row) => row.join(',')).join('\n')}\n`;
}

/** Items with a title each: "T <id>". */
export function itemsCsv(ids: readonly string[]): string {
  return `item_id,title\n${ids.map((id) => `${id},T ${id}`).join('\n')}\n`;
}

export async function prepare(
  source: ResolvedDataSource,
  tmpDir: string,
  params: Partial<PrepareParams> = {},
  threads = 2,
) {
  const data = await prepareData(source, { ...PARAMS, ...params }, { tmpDir, memoryLimit: '500MB', threads });
  return { ...data, ...(await decoded(data)) };
}

/** As a run with a cut-off does it: what the source holds up to there, then the preparation of that. */
export async function prepareAsOf(
  source: DataSource,
  tmpDir: string,
  params: Partial<PrepareParams>,
): Promise<Awaited<ReturnType<typeof prepare>> & Pick<Snapshot, 'digest' | 'leftOut'>> {
  const { snapshot, digest, leftOut } = await snapshotSource(
    source,
    { ...PARAMS, ...params },
    { tmpDir, memoryLimit: '500MB', threads: 2 },
  );
  return { ...(await prepare({ snapshot }, tmpDir, params)), digest, leftOut };
}

async function decoded(data: PreparedData) {
  const interactions = await readFile(data.interactions);
  return {
    interactionBytes: interactions,
    rows: decodeTable(interactions, 'interactions'),
    itemRows: decodeItems(data.items),
    titleRows: decodeTitles(data.titles),
    train: decodeWindows(data.windowsTrain),
    valid: decodeWindows(data.windowsValid),
    test: decodeWindows(data.windowsTest),
  };
}
