import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { cacheRoot } from './cache.ts';
import { runCommand } from './command.ts';
import { findMovielens100k } from './data-source.ts';
import { findDawn } from './dawn.ts';
import { findModel } from './model-source.ts';
import { findTemporalServer } from './temporal.ts';
import { findTensorflow, hasNvidiaGpu } from './tensorflow.ts';
import { pythonProgram } from './wheel.ts';

/** One line of what the machine has. */
export interface ProbeRow {
  name: string;
  /** `later`: not there yet, set-up will fetch it on first use. */
  state: 'ok' | 'missing' | 'later';
  found: string;
  /** What to do when it is missing. */
  advice?: string;
}

const CPU_FLAGS = ['avx2', 'avx512f', 'avx512_bf16', 'amx_bf16'];

/** What set-up finds on this machine. Starts a few programs with `--version`; downloads nothing and never throws. */
export async function probeSetup(): Promise<ProbeRow[]> {
  return Promise.all([
    Promise.resolve<ProbeRow>({ name: 'Node.js', state: 'ok', found: process.version }),
    system(),
    cpu(),
    Promise.resolve<ProbeRow>({ name: 'NVIDIA GPU', state: 'ok', found: hasNvidiaGpu() ? 'yes' : 'none' }),
    program('Python', pythonProgram(), ['--version'], 'Install Python 3, for example: apt install python3'),
    program('pip', pythonProgram(), ['-m', 'pip', '--version'], 'Install pip, for example: apt install python3-pip'),
    program('C++ compiler', process.env['CXX'] || 'g++', ['--version'], 'Install g++, for example: apt install g++'),
    Promise.resolve<ProbeRow>({ name: 'cache folder', state: 'ok', found: cacheRoot() }),
    cached('TensorFlow', async () => {
      const found = await findTensorflow();
      return found && `${found.version} (${found.build}), ${found.addonPath}`;
    }),
    cached('Dawn (WebGPU)', async () => (await findDawn())?.version),
    cached('Temporal', findTemporalServer),
    cached('SmolLM2-135M-Instruct', () => findModel({ registry: 'smollm2-135m-instruct' })),
    cached('MovieLens-100K', findMovielens100k),
  ]);
}

async function cached(name: string, find: () => Promise<string | undefined>): Promise<ProbeRow> {
  try {
    const found = await find();
    return found === undefined
      ? { name, state: 'later', found: 'not in the cache; fetched on first use' }
      : { name, state: 'ok', found };
  } catch (error) {
    return { name, state: 'missing', found: (error as Error).message };
  }
}

async function program(name: string, path: string, args: string[], advice: string): Promise<ProbeRow> {
  const { status, stdout } = await runCommand(path, args);
  if (status === 0) return { name, state: 'ok', found: stdout.split('\n')[0] ?? '' };
  return { name, state: 'missing', found: `"${[path, ...args].join(' ')}" does not run`, advice };
}

async function system(): Promise<ProbeRow> {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const base = `${process.platform} ${release()} ${process.arch}`;
  if (process.platform !== 'linux') return { name: 'system', state: 'ok', found: base };
  if (header.glibcVersionRuntime)
    return { name: 'system', state: 'ok', found: `${base}, glibc ${header.glibcVersionRuntime}` };
  const advice = 'The TensorFlow library needs glibc 2.27 or later; use a Debian-based image instead of Alpine.';
  return { name: 'system', state: 'missing', found: `${base}, no glibc`, advice };
}

async function cpu(): Promise<ProbeRow> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const value = (key: string) => new RegExp(`^${key}\\s*:\\s*(.*)$`, 'm').exec(text)?.[1] ?? '';
  const flags = value('flags').split(' ');
  const found = CPU_FLAGS.filter((flag) => flags.includes(flag));
  return {
    name: 'CPU',
    state: 'ok',
    found: `${value('model name') || process.arch} (${found.join(', ') || 'no flags known'})`,
  };
}
