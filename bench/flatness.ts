import type { Precision } from '../activities/contracts.ts';
import { tf } from '../model/tf.ts';
import { SoftflowBench } from './softflow-bench.ts';
import { table } from './statistics.ts';
import type { Work } from './work.ts';

export interface Flatness {
  precision: Precision;
  steps: number;
  microBatch: number;
  /** At equal distances, the last one at the end. */
  marks: { step: number; tensors: number; rssBytes: number; seconds: number }[];
  /** No tensor more, and RSS at the end at most 3 % above its largest in the first half. */
  flat: boolean;
}

const MARKS = 20;
const ROOM = 1.03;

/** Runs many training steps on changing samples and watches tensors and memory. */
export async function measureFlatness(
  work: Work,
  precision: Precision,
  steps: number,
  microBatch: number,
  say: (line: string) => void,
): Promise<Flatness> {
  const bench = await SoftflowBench.open(work, precision);
  const marks: Flatness['marks'] = [];
  const every = Math.max(1, Math.floor(steps / MARKS));
  const began = performance.now();
  for (let step = 1; step <= steps; step++) {
    bench.step(bench.samples(step * microBatch, microBatch), work.config.lora.dropout);
    // Lets the finalisers of typed arrays run, as the border of a micro-batch does in training.
    await new Promise((resolve) => setImmediate(resolve));
    if (step % every === 0 || step === steps)
      marks.push({
        step,
        tensors: tf.memory().numTensors,
        rssBytes: process.memoryUsage.rss(),
        seconds: (performance.now() - began) / 1000,
      });
  }
  bench.model.dispose();
  const result = { precision, steps, microBatch, marks, flat: isFlat(marks) };
  const rows = marks.map(({ step, tensors, rssBytes, seconds }) => [
    String(step),
    String(tensors),
    `${(rssBytes / 1e9).toFixed(3)} GB`,
    `${((1000 * seconds) / step).toFixed(0)} ms/step`,
  ]);
  for (const line of table([['step', 'tensors', 'RSS', 'time'], ...rows])) say(line);
  say(result.flat ? 'flat' : 'NOT flat');
  return result;
}

export function isFlat(marks: readonly { tensors: number; rssBytes: number }[]): boolean {
  const firstHalf = marks.slice(0, Math.ceil(marks.length / 2));
  const largest = Math.max(...firstHalf.map(({ rssBytes }) => rssBytes));
  const last = marks.at(-1);
  return last !== undefined && last.tensors === marks[0]!.tensors && last.rssBytes <= ROOM * largest;
}
