import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ensureCached } from '../../setup/cache.ts';
import { freePort } from './temporal.ts';
import { until } from './until.ts';

export const OBSERVABILITY = fileURLToPath(new URL('../../deploy/observability/', import.meta.url));

/** Debian's package, unpacked without being installed. */
const PACKAGE = {
  name: 'test/prometheus',
  keyFiles: ['usr/bin/prometheus', 'usr/bin/promtool'],
  needsBytes: 200_000_000,
};

/** Folder with `prometheus` and `promtool`, or why there is none. */
export async function findPrometheus(): Promise<{ bin: string } | { missing: string }> {
  const installed = (process.env['PATH'] ?? '').split(delimiter).find((folder) => existsSync(join(folder, 'promtool')));
  if (installed) return { bin: installed };
  if (spawnSync('dpkg', ['--version']).error) return { missing: 'neither Prometheus nor dpkg is here' };
  try {
    const folder = await ensureCached(PACKAGE, unpack);
    return { bin: join(folder, 'usr', 'bin') };
  } catch (error) {
    return { missing: `Debian's package of Prometheus cannot be had (${(error as Error).message.split('\n')[0]})` };
  }
}

async function unpack(folder: string): Promise<void> {
  const run = promisify(execFile);
  const download = await mkdtemp(join(tmpdir(), 'softflow-prometheus-'));
  try {
    await run('apt-get', ['download', 'prometheus'], { cwd: download });
    await run('sh', ['-c', 'dpkg -x prometheus_*.deb "$1"', 'sh', folder], { cwd: download });
  } finally {
    await rm(download, { recursive: true });
  }
}

/** A Prometheus that scrapes one target every second, with the rules of this tree. */
export class PrometheusServer {
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #url: string;

  private constructor(process: ChildProcess, folder: string, url: string) {
    this.#process = process;
    this.#folder = folder;
    this.#url = url;
  }

  static async start(bin: string, target: string): Promise<PrometheusServer> {
    const folder = await mkdtemp(join(tmpdir(), 'softflow-prometheus-'));
    const config = (await readFile(join(OBSERVABILITY, 'prometheus.yml'), 'utf8'))
      .replaceAll('15s', '1s')
      .replace('rules.yml', join(OBSERVABILITY, 'rules.yml'))
      .replace('127.0.0.1:8080', target);
    await writeFile(join(folder, 'prometheus.yml'), config);
    const address = `127.0.0.1:${await freePort()}`;
    const args = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
    const child = spawn(join(bin, 'prometheus'), [...args, `--web.listen-address=${address}`], { stdio: 'ignore' });
    const server = new PrometheusServer(child, folder, `http://${address}`);
    await until(async () => (await fetch(`http://${address}/-/ready`).catch(() => undefined))?.ok === true, 30);
    return server;
  }

  /** Series of an expression now. @throws Error with what Prometheus says of a faulty one */
  async query(expression: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> {
    const response = await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(expression)}`);
    const answer = (await response.json()) as { status: string; error?: string; data: { result: [] } };
    if (answer.status !== 'success') throw new Error(`${expression}: ${answer.error}`);
    return answer.data.result;
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
    await rm(this.#folder, { recursive: true });
  }
}
