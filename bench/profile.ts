import type { Precision } from '../activities/contracts.ts';
import { kernelsFor } from '../model/kernel-sets.ts';
import type { FrozenMatrix, Kernels } from '../model/kernels.ts';
import { matmulRate } from '../model/matmul-rate.ts';
import type { Tensor2D } from '../model/tf.ts';
import { tf } from '../model/tf.ts';
import { SoftflowBench } from './softflow-bench.ts';
import { table } from './statistics.ts';
import type { Work } from './work.ts';

interface Entry {
  calls: number;
  ms: number;
}

interface KernelEntry extends Entry {
  flops: number;
  ops: Map<string, Entry>;
}

const OUTSIDE = 'outside kernels';
const REPEATS = 3;
const PROMPTS = 32;

/** Adds up the time of every call into the library, by the kernel that made it. */
export class Clock {
  readonly kernels = new Map<string, KernelEntry>();
  private current = OUTSIDE;
  private running = false;

  start(): void {
    this.kernels.clear();
    this.running = true;
  }

  stop(): void {
    this.running = false;
  }

  kernel<T>(name: string, flops: number, work: () => T): T {
    const outer = this.current;
    this.current = name;
    const began = performance.now();
    try {
      return work();
    } finally {
      if (this.running) {
        const entry = this.entry(name);
        entry.calls++;
        entry.ms += performance.now() - began;
        entry.flops += flops;
      }
      this.current = outer;
    }
  }

  op<T>(name: string, work: () => T): T {
    const began = performance.now();
    try {
      return work();
    } finally {
      if (this.running) {
        const ms = performance.now() - began;
        const kernel = this.entry(this.current);
        const entry = kernel.ops.get(name) ?? { calls: 0, ms: 0 };
        kernel.ops.set(name, { calls: entry.calls + 1, ms: entry.ms + ms });
        // There is no call around what lies outside.
        if (this.current === OUTSIDE) kernel.ms += ms;
      }
    }
  }

  private entry(name: string): KernelEntry {
    const known = this.kernels.get(name) ?? { calls: 0, ms: 0, flops: 0, ops: new Map<string, Entry>() };
    this.kernels.set(name, known);
    return known;
  }
}

/** The same kernels with a clock around each. */
export function clocked(kernels: Kernels, clock: Clock): Kernels {
  const members = Object.entries(kernels).map(([name, member]) => {
    if (typeof member !== 'function') return [name, member];
    const call = member as (...args: unknown[]) => unknown;
    return [
      name,
      (...args: unknown[]) => clock.kernel(labelOf(name, args), flopsOf(name, args), () => call.apply(kernels, args)),
    ];
  });
  return Object.fromEntries(members) as Kernels;
}

function labelOf(name: string, [, matrices]: unknown[]): string {
  if (name !== 'linear' && name !== 'linearGrad') return name;
  const all = [matrices].flat() as FrozenMatrix[];
  const outs = all.map(({ out }) => out).join(' + ');
  return name === 'linear' ? `linear ${all[0]!.in} -> ${outs}` : `linearGrad ${outs} -> ${all[0]!.in}`;
}

function flopsOf(name: string, [x, matrices]: unknown[]): number {
  if (name !== 'linear' && name !== 'linearGrad') return 0;
  const weights = ([matrices].flat() as FrozenMatrix[]).reduce((sum, matrix) => sum + matrix.in * matrix.out, 0);
  return 2 * ([x].flat() as Tensor2D[])[0]!.shape[0] * weights;
}

/** Puts the clock around the functions of the native addon, which are read-only: an object in its place has them. */
function clockAddon(clock: Clock): void {
  const backend = tf.backend() as unknown as { binding: Record<string, unknown> };
  const { binding } = backend;
  const clockedNames = ['executeOp', 'createTensor', 'tensorDataSync', 'deleteTensor'];
  const members = clockedNames.map((name) => {
    const call = binding[name] as (...args: unknown[]) => unknown;
    const value = (...args: unknown[]) =>
      clock.op(name === 'executeOp' ? String(args[0]) : name, () => call.apply(binding, args));
    return [name, { value }] as const;
  });
  backend.binding = Object.create(binding, Object.fromEntries(members)) as Record<string, unknown>;
}

/** Prints where the time of a training step and of beam generation goes, by kernel and within it by op of the library. */
export async function profileWork(
  work: Work,
  precision: Precision,
  microBatch: number,
  say: (line: string) => void,
): Promise<void> {
  const clock = new Clock();
  const bench = await SoftflowBench.open(work, precision, () => {
    clockAddon(clock);
    return clocked(kernelsFor(precision), clock);
  });
  profileStep(bench, clock, microBatch, say);
  await profileGeneration(bench, clock, say);
  bench.model.dispose();
}

async function profileGeneration(bench: SoftflowBench, clock: Clock, say: (line: string) => void): Promise<void> {
  await bench.generate(PROMPTS);
  clock.start();
  let seconds = 0;
  for (let i = 0; i < REPEATS; i++) seconds += (await bench.generate(PROMPTS)).seconds / REPEATS;
  clock.stop();
  say(`\nGeneration, ${bench.precision}, ${PROMPTS} prompts: ${seconds.toFixed(3)} s`);
  for (const line of table(profileRows(clock, seconds * 1000))) say(line);
}

function profileStep(bench: SoftflowBench, clock: Clock, microBatch: number, say: (line: string) => void): void {
  const { work, precision } = bench;
  const { dropout } = work.config.lora;
  const samples = bench.samples(0, microBatch);
  bench.step(samples, dropout);
  clock.start();
  const steps = Array.from({ length: REPEATS }, () => bench.step(samples, dropout));
  clock.stop();
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0) / REPEATS;
  const tokens = steps[0]!.tokens!;
  const rate = matmulRate(bench.model.config, precision, tokens, 2);
  const flops = steps[0]!.flops!;
  say(
    `\nTraining step, ${precision}, ${samples.length} samples, ${tokens} packed tokens: ${seconds.toFixed(3)} s, ` +
      `${(flops / 1e9).toFixed(0)} useful GFLOP, mfu ${(flops / seconds / rate).toFixed(3)} of ${(rate / 1e9).toFixed(0)} GFLOP/s`,
  );
  for (const line of table(profileRows(clock, seconds * 1000))) say(line);
}

function profileRows({ kernels }: Clock, totalMs: number): string[][] {
  const share = (ms: number) => `${((100 * ms) / totalMs).toFixed(1)} %`;
  const rows: string[][] = [['kernel', 'calls', 'ms', 'share', 'GFLOP/s']];
  const byTime = <T extends Entry>(entries: Map<string, T>) => [...entries].sort(([, a], [, b]) => b.ms - a.ms);
  let known = 0;
  for (const [name, kernel] of byTime(kernels)) {
    const ms = kernel.ms / REPEATS;
    known += ms;
    const rate = kernel.flops > 0 ? (kernel.flops / (kernel.ms * 1e6)).toFixed(0) : '';
    rows.push([name, String(Math.round(kernel.calls / REPEATS) || ''), ms.toFixed(1), share(ms), rate]);
    const ops = byTime(kernel.ops).filter(([, op]) => op.ms / REPEATS >= 0.002 * totalMs);
    if (kernel.ops.size === 1) continue;
    for (const [op, entry] of ops)
      rows.push([
        `    ${op}`,
        String(Math.round(entry.calls / REPEATS)),
        (entry.ms / REPEATS).toFixed(1),
        share(entry.ms / REPEATS),
      ]);
  }
  rows.push(['JavaScript', '', (totalMs - known).toFixed(1), share(totalMs - known)]);
  return rows;
}
