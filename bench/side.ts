import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What a side is asked for; both sides know the same words. */
export type Request =
  | { do: 'loss'; first: number }
  | { do: 'trainStep'; first: number; steps: number }
  | { do: 'generate'; prompts: number }
  | { do: 'encode' }
  | { do: 'matmulRate'; tokens: number }
  | { do: 'pipeline' };

export interface Answer {
  /** Of the work alone, measured inside the process; of several steps, the mean. */
  seconds: number;
  /** Of the process up to now. */
  peakRssBytes: number;
  loss?: number;
  gradientNorm?: number;
  beams?: { ids: number[]; score: number }[];
  /** Mean length of the embeddings, for comparison. */
  norm?: number;
  tokens?: number;
  flops?: number;
  rate?: number;
  /** Seconds of each part of a pipeline. */
  parts?: Record<string, number>;
  error?: string;
}

/** A process that answers one JSON request a line, loaded once; the other side rests meanwhile. */
export class Side {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #errors = '';

  constructor(name: string, command: string, args: string[], env: NodeJS.ProcessEnv = {}) {
    this.name = name;
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#child.on('error', (error) => {
      this.#errors += error.message;
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** @throws Error with the end of the process's error output when it fails or ends */
  async ask(request: Request): Promise<Answer> {
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    return this.#next();
  }

  /** The first line of a process says that it is loaded. */
  ready(): Promise<Answer> {
    return this.#next();
  }

  async #next(): Promise<Answer> {
    const { value, done } = await this.#lines.next();
    const answer = done ? { error: 'the process ended' } : (JSON.parse(value) as Answer);
    if (answer.error !== undefined) throw new Error(`${this.name}: ${answer.error}\n${this.#errors}`);
    return answer as Answer;
  }

  async end(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin!.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(timer);
  }
}
