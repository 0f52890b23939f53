import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheRoot } from '../../setup/cache.ts';
import { tinyGguf } from '../model/tiny-gguf.ts';
import { type DocCommand, difference } from './docs-commands.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const TINY = { hiddenSize: 32, layers: 1, heads: 2, kvHeads: 1, ffnSize: 64, vocabSize: 512, maxPosition: 2048 };

/**
 * A folder in which the commands of the docs are run as they stand: recipes and examples lie in it, `softflow` and
 * `npx softflow` are this checkout's. Only the model is another: where the cache holds SmolLM2 it has a tiny random one.
 */
export class DocsProject {
  readonly folder = mkdtempSync(join(tmpdir(), 'softflow-docs-'));
  readonly #env: NodeJS.ProcessEnv;

  constructor() {
    const at = (...names: string[]) => join(this.folder, ...names);
    for (const name of ['recipes', 'examples']) cpSync(join(ROOT, name), at(name), { recursive: true });
    cpSync(join(ROOT, 'README.md'), at('README.md'));
    mkdirSync(at('docs'));
    cpSync(join(ROOT, 'docs', 'config.schema.json'), at('docs', 'config.schema.json'));
    mkdirSync(at('.bin'));
    const softflow = `exec '${process.execPath}' '${join(ROOT, 'bin', 'softflow.mjs')}' "$@"`;
    writeExecutable(at('.bin', 'softflow'), softflow);
    writeExecutable(at('.bin', 'npx'), `[ "$1" = softflow ] || exit 127\nshift\n${softflow}`);
    makeCache(at('.cache'));
    const { TEMPORAL_ADDRESS: _, NO_COLOR: __, FORCE_COLOR: ___, ...env } = process.env;
    this.#env = { ...env, PATH: `${at('.bin')}:${env['PATH']}`, SOFTFLOW_CACHE: at('.cache') };
  }

  /** Runs it and what it takes for granted. @throws when it ends or prints otherwise than its page says */
  async check(doc: DocCommand): Promise<void> {
    for (const command of doc.before) {
      const made = await this.#shell(command);
      if (made.code !== 0) throw new Error(`${doc.page}:${doc.line}: before it, ${command}\n${made.printed}`);
    }
    const { code, printed } = await this.#shell(doc.command, doc.ctrlC ? (doc.output ?? ['...']) : undefined);
    const wrong =
      code === doc.exit
        ? difference(doc.output ?? ['...'], printed.split('\n'))
        : `the page says   exit code ${doc.exit}\nit ended with   ${code}`;
    if (wrong !== undefined)
      throw new Error(`${doc.page}:${doc.line}: $ ${doc.command}\n${wrong}\nAll of it:\n${printed}`);
  }

  /** With `ends`, Ctrl-C is pressed once these lines were printed. */
  #shell(command: string, ends?: readonly string[]): Promise<{ code: number; printed: string }> {
    let until = ends;
    return new Promise((done) => {
      const child = spawn('bash', ['-c', `exec 2>&1; set -o pipefail; ${command}`], {
        cwd: this.folder,
        env: this.#env,
        stdio: ['ignore', 'pipe', 'ignore'],
        // A group of its own, which gets Ctrl-C as a whole, as on a terminal.
        detached: true,
      });
      let printed = '';
      child.stdout.on('data', (data) => {
        printed += data;
        if (until && difference(until, printed.split('\n')) === undefined) {
          until = undefined;
          process.kill(-(child.pid as number), 'SIGINT');
        }
      });
      child.on('close', (code, signal) =>
        done({ code: code ?? (signal === 'SIGINT' ? 130 : 1), printed: printed.replaceAll(this.folder, '/home/me') }),
      );
    });
  }

  async remove(): Promise<void> {
    await this.#shell('softflow dev stop');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function writeExecutable(path: string, script: string): void {
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

function makeCache(folder: string): void {
  mkdirSync(join(folder, 'models'), { recursive: true });
  for (const name of readdirSync(cacheRoot()))
    if (name !== 'models' && name !== 'tmp') symlinkSync(join(cacheRoot(), name), join(folder, name));
  const model = readdirSync(join(cacheRoot(), 'models')).find((name) => name.startsWith('smollm2-')) as string;
  const entry = join(folder, 'models', model);
  const bytes = tinyGguf(TINY);
  mkdirSync(entry);
  writeFileSync(join(entry, MODEL), bytes);
  const marker = { name: `models/${model}`, files: { [MODEL]: bytes.length } };
  writeFileSync(join(entry, 'softflow-entry.json'), JSON.stringify(marker));
}
