import { type CacheEntry, ensureCached, findCached } from './cache.ts';
import type { OnProgress } from './progress.ts';
import { fetchWheel, type Wheel } from './wheel.ts';

const FILES = ['ml-100k.inter', 'ml-100k.item'];
const FOLDER = 'recbole/dataset_example/ml-100k/';

const RECBOLE: Wheel = {
  name: 'recbole',
  version: '1.2.1',
  sha256: '9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407',
  sizeBytes: 2_130_151,
  maxUnpackedBytes: 10_000_000,
  select: (member) => FILES.find((file) => member === FOLDER + file),
};

const ENTRY: CacheEntry = { name: 'data/ml-100k-recbole-1.2.1', keyFiles: FILES, needsBytes: 20_000_000 };

const NOTICE =
  'MovieLens 100K by GroupLens Research (University of Minnesota): for research, no commercial use without permission, no ' +
  'redistribution, and cite Harper and Konstan, "The MovieLens Datasets", ACM TiiS 5(4), 2015. The files stay in your cache.';

/**
 * Folder with MovieLens-100K as RecBole's atomic files `ml-100k.inter` and `ml-100k.item`, downloaded on first use with
 * the licence notice of GroupLens.
 *
 * @throws SoftflowError those of the download
 */
export async function ensureMovielens100k(options: { onProgress?: OnProgress } = {}): Promise<string> {
  const onProgress = options.onProgress ?? (() => {});
  const folder = await ensureCached(ENTRY, async (target) => {
    onProgress({ item: 'data', phase: 'notice', message: NOTICE });
    await fetchWheel(RECBOLE, target, 'data', onProgress);
  });
  onProgress({ item: 'data', phase: 'ready', message: 'MovieLens-100K' });
  return folder;
}

/** The folder when it is in the cache already, else undefined. Never downloads. */
export function findMovielens100k(): Promise<string | undefined> {
  return findCached(ENTRY);
}
