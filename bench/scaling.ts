import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Precision } from '../activities/contracts.ts';
import { SoftflowError } from '../errors.ts';
import { placedDropout } from '../model/dropout.ts';
import { uploadAdapter } from '../model/lora.ts';
import { adamWStep, initialOptimizerState } from '../model/optimizer.ts';
import { packBatch } from '../model/packing.ts';
import { softLoss } from '../model/soft-loss.ts';
import { SoftflowBench } from './softflow-bench.ts';
import { table } from './statistics.ts';
import type { Work } from './work.ts';

export const SCALINGS = ['batch', 'ranking', 'preparation'] as const;
export type Scaling = (typeof SCALINGS)[number];

export interface ScalingRow {
  size: number;
  seconds: number;
  peakRssBytes: number;
}

const SIZES: Record<Scaling, readonly number[]> = {
  batch: [8, 32, 128, 256],
  ranking: [1_000, 10_000, 100_000, 1_000_000],
  preparation: [100_000, 1_000_000, 5_000_000, 25_000_000],
};
const UNIT: Record<Scaling, string> = { batch: 'samples', ranking: 'titles', preparation: 'interactions' };

/** Measures one thing at growing sizes; each size of ranking and preparation in a process of its own. */
export async function scale(
  what: Scaling,
  max: number | undefined,
  say: (line: string) => void,
  training?: { work: Work; precision: Precision },
): Promise<{ what: Scaling; rows: ScalingRow[] }> {
  if (!SCALINGS.includes(what))
    throw new SoftflowError('BENCH_UNKNOWN', `Expected --scaling ${SCALINGS.join(', ')}, got ${what}`);
  const sizes = SIZES[what].filter((size) => max === undefined || size <= max);
  const rows: ScalingRow[] = [];
  const bench = training && (await SoftflowBench.open(training.work, training.precision));
  for (const size of sizes) {
    const row = bench ? trainBatch(bench, size) : await inProcess(what, size);
    rows.push(row);
    say(`${size} ${UNIT[what]}: ${row.seconds.toFixed(2)} s`);
  }
  bench?.model.dispose();
  for (const line of table([[UNIT[what], 'seconds', 'microseconds each', 'peak RSS'], ...rows.map(cells)])) say(line);
  return { what, rows };
}

function cells({ size, seconds, peakRssBytes }: ScalingRow): string[] {
  const each = ((seconds / size) * 1e6).toFixed(seconds / size > 1e-3 ? 0 : 3);
  return [size.toLocaleString('en'), seconds.toFixed(2), each, `${(peakRssBytes / 1e9).toFixed(2)} GB`];
}

/** One optimiser step of so many samples, in micro-batches, with the update. */
function trainBatch(bench: SoftflowBench, size: number): ScalingRow {
  const { work, model } = bench;
  const { microBatchSize } = work.config.train;
  const parameters = new Map(
    [...bench.parameters].map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]),
  );
  const began = performance.now();
  const adapter = uploadAdapter(model.config, work.config.lora, parameters);
  const sum = new Map([...parameters].map(([name, { data }]) => [name, new Float32Array(data.length)]));
  for (let first = 0; first < size; first += microBatchSize) {
    const batch = packBatch(bench.samples(first), work.prefix);
    const place = { seed: 42, stage: 'bench', step: 0 };
    const dropout = placedDropout(batch, place, work.config.lora.dropout);
    const weights = { target: 1 / size, distilled: 1 / size };
    const { gradients } = softLoss(model, adapter, batch, weights, { ...(dropout && { dropout }) });
    for (const [name, total] of sum) gradients.get(name)!.forEach((value, i) => (total[i]! += value));
  }
  adapter.dispose();
  adamWStep(parameters, sum, initialOptimizerState(parameters), work.config.train);
  return { size, seconds: (performance.now() - began) / 1000, peakRssBytes: process.resourceUsage().maxRSS * 1024 };
}

async function inProcess(what: Scaling, size: number): Promise<ScalingRow> {
  const folder = await mkdtemp(join(tmpdir(), 'softflow-scaling-'));
  try {
    const script = fileURLToPath(new URL(`./scaling-process${extname(import.meta.url)}`, import.meta.url));
    const child = fork(script, [what, String(size), folder], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    return await new Promise((resolve, reject) => {
      child.on('message', (row) => resolve(row as ScalingRow));
      child.on('error', reject);
      child.on('close', (status) => reject(new Error(`${what} of ${size} ended with ${status} and no result`)));
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
