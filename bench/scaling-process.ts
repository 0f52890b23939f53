import { writePlanted } from '../datasets/planted.ts';
import { prepareData } from '../datasets/prepare.ts';
import { addTitles, startGrounding } from '../model/grounding.ts';
import { RunConfigSchema } from '../workflows/run-config.ts';
import type { ScalingRow } from './scaling.ts';

/** One size of a scaling run: `scaling-process.js ranking|preparation <size> <folder>`; the row goes to the parent. */
const [what, size, folder] = process.argv.slice(2) as [string, string, string];
const seconds = what === 'ranking' ? rank(Number(size)) : await prepare(Number(size), folder);
const row: ScalingRow = { size: Number(size), seconds, peakRssBytes: process.resourceUsage().maxRSS * 1024 };
process.send!(row, () => process.exit(0));

/** Grounds a few texts in a catalogue of synthetic embeddings that comes in chunks; seconds of one text. */
function rank(titles: number): number {
  const width = 576;
  const texts = 4;
  const chunkRows = Math.min(10_000, titles);
  const chunk = synthetic(chunkRows * width, 1);
  const target = synthetic(width, 2);
  let spent = 0;
  for (let t = 0; t < texts; t++) {
    const began = performance.now();
    const grounding = startGrounding(synthetic(width, 3 + t), target, titles - 1);
    for (let first = 0; first < titles; first += chunkRows)
      addTitles(grounding, chunk.subarray(0, Math.min(chunkRows, titles - first) * width), first);
    if (!(grounding.rank > 0)) throw new RangeError(`Expected a rank, got ${grounding.rank}`);
    spent += performance.now() - began;
  }
  return spent / texts / 1000;
}

/** Numbers in [-1, 1): a 32-bit linear congruential generator is random enough for distances. */
function synthetic(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 31;
  }
  return values;
}

/** Prepares synthetic interactions from CSV files; writing them does not count. */
async function prepare(interactions: number, tmpDir: string): Promise<number> {
  const config = RunConfigSchema.parse({
    model: { source: { registry: 'smollm2-135m-instruct' } },
    data: { source: { planted: {} } },
  });
  // Four series of four to seven parts a user, 7 % of them skipped: 20.5 rows.
  const users = Math.ceil(interactions / 20.46);
  // A hundred users or so a series, so that the k-core keeps the catalogue.
  const series = Math.min(5000, Math.ceil(users / 25));
  const planted = { series, minParts: 4, maxParts: 7, users, seriesPerUser: 4, skip: 0.07, seed: 42 };
  const paths = await writePlanted(planted, tmpDir);
  const columns = {
    user: 'user_id',
    item: 'item_id',
    rating: null,
    time: 'timestamp',
    itemsItem: 'item_id',
    title: 'title',
  };
  const began = performance.now();
  const { source: _, ...data } = config.data;
  await prepareData(
    { csv: { ...paths, columns, delimiter: ',' } },
    { ...data, seed: config.seed },
    { memoryLimit: '1GB', threads: 2, tmpDir },
  );
  return (performance.now() - began) / 1000;
}
