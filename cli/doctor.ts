import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { link, mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findDawn } from '../setup/dawn.ts';
import type { ProbeRow } from '../setup/probe.ts';
import { findTensorflow, hasNvidiaGpu } from '../setup/tensorflow.ts';
import { formatBytes, formatNumber } from './format.ts';
import { gpuTrouble } from './gpu-trouble.ts';
import { findTarget } from './session.ts';

/** One line of `softflow doctor`. `warning` is told but is no trouble; `fault` makes the command fail. */
export interface Check {
  name: string;
  state: 'ok' | 'later' | 'warning' | 'fault' | 'not tried';
  found: string;
  /** What to do about it. */
  advice?: string;
}

/** What a backend's own process answers; see model/doctor-probe.ts. */
export interface BackendProbe {
  ok: boolean;
  detail: string;
  /** Not to be had on this machine, which is no trouble. */
  absent?: boolean;
  device?: string;
  gflops?: number;
  deterministic?: boolean;
  digest?: string;
}

export const BACKENDS = ['tensorflow', 'webgpu', 'wasm', 'cpu'] as const;
const MIN_FREE_BYTES = 2_000_000_000;
/** Only the first set-up needs these; once the library is there they may be missing. */
const SETUP_TOOLS = new Set(['Python', 'pip', 'C++ compiler']);

/** What set-up found, judged. */
export function judgeSetup(rows: readonly ProbeRow[]): Check[] {
  const libraryThere = rows.some(({ name, state }) => name === 'TensorFlow' && state === 'ok');
  return rows.map(({ name, state, found, advice }) => ({
    name,
    state: state !== 'missing' ? state : SETUP_TOOLS.has(name) && libraryThere ? 'warning' : 'fault',
    found,
    ...(advice === undefined || state !== 'missing' ? {} : { advice }),
  }));
}

export function nodeCheck(version = process.versions.node): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const ok = major > 20 || (major === 20 && minor >= 19);
  const advice = 'softflow needs Node.js 20.19 or later.';
  return { name: 'Node.js', state: ok ? 'ok' : 'fault', found: `v${version}`, ...(ok ? {} : { advice }) };
}

/**
 * Tries one backend in processes of its own: a native crash must not end `doctor`. Two at once, because a resumed run is
 * another process, and its bytes must be the same.
 */
export async function backendCheck(name: string, timeoutMs = 120_000): Promise<Check> {
  const label = `backend ${name}`;
  const script = fileURLToPath(new URL('probe-backend.js', import.meta.url));
  const body = fileURLToPath(new URL('../model/doctor-probe.js', import.meta.url));
  if (!existsSync(script) || !existsSync(body))
    return { name: label, state: 'not tried', found: 'this build has no probe' };
  if (name === 'tensorflow' && !(await findTensorflow()))
    return { name: label, state: 'later', found: 'the library is fetched and the addon compiled on first use' };
  if (name === 'webgpu' && !(await findDawn()))
    return { name: label, state: 'later', found: 'Dawn is fetched on first use, where a GPU is' };
  const [first, second] = await Promise.all([runNode([script, name], timeoutMs), runNode([script, name], timeoutMs)]);
  const { status, signal, stdout, stderr } = first;
  const probe = lastJson(stdout);
  const unused = name === 'tensorflow' && hasNvidiaGpu() && probe?.device === 'cpu';
  if (probe?.ok && unused) return judgeUnusedGpu(label, probe, stderr);
  if (probe) return judgeBackend(label, probe, lastJson(second.stdout));
  const reason = lastLine(stderr) || `ended without an answer (${signal ?? `exit ${status}`})`;
  return { name: label, state: 'fault', found: reason, advice: `Run: node ${script} ${name}` };
}

/** @param printed what TensorFlow said while it looked for the GPU that is there */
export function judgeUnusedGpu(name: string, { detail }: BackendProbe, printed: string): Check {
  const { found, advice } = gpuTrouble(printed);
  return { name, state: 'warning', found: `${detail}; the NVIDIA GPU is not used: ${found}`, advice };
}

/** @param second what another process found */
export function judgeBackend(name: string, probe: BackendProbe, second?: BackendProbe): Check {
  if (!probe.ok) return { name, state: probe.absent ? 'not tried' : 'fault', found: probe.detail };
  const speed = probe.gflops === undefined ? '' : `, ${formatNumber(probe.gflops)} GFLOP/s`;
  const found = `${probe.detail}${speed}`;
  if (probe.deterministic === false || (second && second.digest !== probe.digest))
    return {
      name,
      state: 'warning',
      found: `${found}, not deterministic`,
      advice: 'Runs work, but a resumed run may differ in its last bits from an undisturbed one on this backend.',
    };
  const same = second ? 'same bytes in two processes' : 'same bytes twice';
  return { name, state: 'ok', found: probe.deterministic ? `${found}, ${same}` : found };
}

function lastJson(stdout: string): BackendProbe | undefined {
  try {
    return JSON.parse(lastLine(stdout)) as BackendProbe;
  } catch {
    return undefined;
  }
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

interface NodeResult {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

function runNode(args: string[], timeoutMs: number): Promise<NodeResult> {
  return new Promise((done) => {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      // What TensorFlow says of GPUs are warnings.
      env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '0' },
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    const text = { stdout: '', stderr: '' };
    child.stdout.on('data', (data) => {
      text.stdout += data;
    });
    child.stderr.on('data', (data) => {
      text.stderr = (text.stderr + data).slice(-10_000);
    });
    child.on('error', (error) => done({ status: null, signal: null, ...text, stderr: error.message }));
    child.on('close', (status, signal) => done({ status, signal, ...text }));
  });
}

/** Whether the store can be made in `folder`: writes, flushes and links a file, and looks at the free space. */
export async function diskCheck(folder: string): Promise<Check> {
  const name = 'store folder';
  const base = nearestFolder(folder);
  let trial: string | undefined;
  try {
    trial = await mkdtemp(join(base, '.softflow-doctor-'));
    const file = join(trial, 'a');
    const handle = await open(file, 'wx');
    await handle.writeFile('softflow');
    await handle.sync();
    await handle.close();
    await link(file, join(trial, 'b'));
    const { bavail, bsize } = await statfs(base);
    const free = bavail * bsize;
    const found = `${resolve(folder)}, ${formatBytes(free)} free`;
    if (free >= MIN_FREE_BYTES) return { name, state: 'ok', found };
    return {
      name,
      state: 'warning',
      found,
      advice: `A run needs about ${formatBytes(MIN_FREE_BYTES)}; free some space.`,
    };
  } catch (error) {
    const advice = 'Work in a folder that you may write, on a file system with hard links.';
    return { name, state: 'fault', found: `${resolve(folder)}: ${(error as Error).message}`, advice };
  } finally {
    if (trial) await rm(trial, { recursive: true, force: true });
  }
}

function nearestFolder(folder: string): string {
  let base = resolve(folder);
  while (!existsSync(base) && dirname(base) !== base) base = dirname(base);
  return base;
}

export const hasFault = (checks: readonly Check[]): boolean => checks.some(({ state }) => state === 'fault');

/** The server that the environment names, else the embedded one where it runs. */
export async function temporalCheck(): Promise<Check> {
  const name = 'Temporal server';
  try {
    const target = await findTarget();
    if (!target) return { name, state: 'later', found: 'none configured; the embedded one is started when needed' };
    const { connect } = await import('../client/connect.ts');
    const { missingAttributes } = await import('../client/search-attributes.ts');
    const client = await connect(target);
    const { connection } = client;
    const { serverVersion } = await connection.workflowService.getSystemInfo({});
    await connection.workflowService.describeNamespace({ namespace: target.namespace });
    const missing = await missingAttributes(client);
    await connection.close();
    return judgeServer(name, `${target.address}, version ${serverVersion}, namespace ${target.namespace}`, missing);
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    const advice = code === 5 ? 'Create the namespace, or name another in TEMPORAL_NAMESPACE.' : undefined;
    return { name, state: 'fault', found: message, ...(advice ? { advice } : {}) };
  }
}

/** Without search attributes runs are only harder to find. */
export function judgeServer(name: string, found: string, missing: readonly { name: string; type: string }[]): Check {
  if (missing.length === 0) return { name, state: 'ok', found: `${found}, search attributes known` };
  const one = ({ name: attribute, type }: { name: string; type: string }) =>
    `temporal operator search-attribute create --name ${attribute} --type ${type}`;
  return {
    name,
    state: 'warning',
    found: `${found}, without the search attributes ${missing.map((attribute) => attribute.name).join(', ')}`,
    advice: `Runs work without; to find them in the Temporal UI: ${missing.map(one).join('; ')}`,
  };
}
