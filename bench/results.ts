import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import type { Precision } from '../activities/contracts.ts';
import { instructionSet } from '../model/backend.ts';
import { packageRoot } from '../setup/paths.ts';
import type { PrecisionResult, Task, TrainingRates } from './compare.ts';
import type { Answer } from './side.ts';
import { median, medianRatio, table } from './statistics.ts';

/** Everything that was measured; `latest.json` is this. */
export interface Results {
  ratios: Partial<Record<RatioName, number>>;
  rss: { peer?: number; softflow?: number };
  mfu: Partial<Record<Precision, number>>;
  machine: Machine;
  details: Partial<Record<Precision, PrecisionResult>> & { pipeline?: { peer?: Answer; softflow: Answer } };
}

export type RatioName = 'trainStepF32' | 'trainStepBf16' | 'generateF32' | 'generateBf16' | 'encodeTitles' | 'pipeline';

interface Machine {
  date: string;
  cpu: string;
  cores: number;
  memoryBytes: number;
  instructionSet: string;
  system: string;
  node: string;
  /** Runnable processes over the last minute when the measurement began: above a fraction of a core it disturbs. */
  load: number;
}

/** What issue the ratios are held against. */
const REACH: Record<RatioName, number> = {
  trainStepF32: 4,
  trainStepBf16: 3.5,
  generateF32: 4.5,
  generateBf16: 3.5,
  encodeTitles: 1,
  pipeline: 4,
};
const REACH_MFU: Record<Precision, number> = { f32: 0.7, bf16: 0.55 };
const REACH_RSS = 3e9;

const CELLS: readonly { name: RatioName; task: Task; precision: Precision }[] = [
  { name: 'trainStepF32', task: 'trainStep', precision: 'f32' },
  { name: 'trainStepBf16', task: 'trainStep', precision: 'bf16' },
  { name: 'generateF32', task: 'generate', precision: 'f32' },
  { name: 'generateBf16', task: 'generate', precision: 'bf16' },
];

export function machine(): Machine {
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    instructionSet: instructionSet(),
    system: `${platform()} ${release()}`,
    node: process.version,
    load: loadavg()[0] ?? 0,
  };
}

/** Ratios, memory and `mfu` from what was timed. */
export function summarize(details: Results['details'], where: Machine): Results {
  const results: Results = { ratios: {}, rss: {}, mfu: {}, machine: where, details };
  for (const { name, task, precision } of CELLS) {
    const timed = details[precision]?.tasks[task];
    const ratio = timed && medianRatio(timed);
    if (ratio !== undefined) results.ratios[name] = ratio;
  }
  const encodings = (['f32', 'bf16'] as const).flatMap((precision) => {
    const timed = details[precision]?.tasks.encode;
    return (timed && medianRatio(timed)) ?? [];
  });
  // One figure for both precisions: the worse one.
  if (encodings.length > 0) results.ratios.encodeTitles = Math.min(...encodings);
  const { pipeline } = details;
  if (pipeline?.peer) results.ratios.pipeline = pipeline.peer.seconds / pipeline.softflow.seconds;
  for (const precision of ['f32', 'bf16'] as const) {
    const { rates, rss } = details[precision] ?? {};
    if (rates) results.mfu[precision] = median(rates.map(({ flopRate, matmulRate }) => flopRate / matmulRate));
    for (const side of ['peer', 'softflow'] as const)
      if (rss?.[side]) results.rss[side] = Math.max(results.rss[side] ?? 0, rss[side]);
  }
  return results;
}

/** The table of the figures with what they should reach. */
export function renderResults(results: Results): string {
  const { details } = results;
  const seconds = (values: readonly number[] | undefined) => (values?.length ? `${median(values).toFixed(2)} s` : '');
  const verdict = (value: number | undefined, reach: number, fine: boolean) =>
    value === undefined ? '' : `${fine ? 'reached' : 'short of'} ${reach}`;
  const notes: string[] = [];
  const rows: string[][] = [['', 'peer', 'softflow', 'ratio', '']];
  const add = (label: string, peer: string, softflow: string, ratio: number | undefined, name?: RatioName) =>
    rows.push([
      label,
      peer,
      softflow,
      ratio?.toFixed(2) ?? '',
      name ? verdict(ratio, REACH[name], (ratio ?? 0) >= REACH[name]) : '',
    ]);
  for (const { name, task, precision } of CELLS) {
    const timed = details[precision]?.tasks[task];
    if (timed) add(name, seconds(timed.peer), seconds(timed.softflow), results.ratios[name], name);
  }
  for (const precision of ['f32', 'bf16'] as const) {
    const timed = details[precision]?.tasks.encode;
    if (timed)
      add(
        `encodeTitles, ${precision}`,
        seconds(timed.peer),
        seconds(timed.softflow),
        medianRatio(timed),
        'encodeTitles',
      );
  }
  const { pipeline } = details;
  if (pipeline)
    add(
      'pipeline',
      pipeline.peer ? `${pipeline.peer.seconds.toFixed(1)} s` : '',
      `${pipeline.softflow.seconds.toFixed(1)} s`,
      results.ratios.pipeline,
      'pipeline',
    );
  for (const precision of ['f32', 'bf16'] as const) {
    const { rss, rates } = details[precision] ?? {};
    if (!rss?.softflow) continue;
    const gigabytes = (bytes: number | undefined) => (bytes ? `${(bytes / 1e9).toFixed(2)} GB` : '');
    const memory = verdict(rss.softflow, REACH_RSS / 1e9, rss.softflow <= REACH_RSS);
    rows.push([`peak RSS of training, ${precision}`, gigabytes(rss.peer), gigabytes(rss.softflow), '', memory]);
    const mfu = results.mfu[precision];
    if (mfu === undefined || rates === undefined) continue;
    const verdictOfMfu = verdict(mfu, REACH_MFU[precision], mfu >= REACH_MFU[precision]);
    rows.push([`mfu of the training step, ${precision}`, '', mfu.toFixed(3), '', verdictOfMfu]);
    const of = (figure: keyof TrainingRates) => median(rates.map((each) => each[figure]));
    const giga = (figure: keyof TrainingRates) => (of(figure) / 1e9).toFixed(0);
    notes.push(
      `Training step, ${precision}: ${Math.round(of('tokensPerSecond'))} tokens/s, ${giga('flopRate')} useful GFLOP/s; ` +
        `matrix products of the library: ${giga('matmulRate')} GFLOP/s.`,
    );
  }
  return [...table(rows), '', ...notes].join('\n');
}

/** Writes the results to `bench/results/<name>.json`; returns the path. */
export function writeResults(results: unknown, name: string): string {
  const path = join(packageRoot(), 'bench', 'results', `${name}.json`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
  return path;
}
