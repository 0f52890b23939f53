import type { Client } from '@temporalio/client';
import type { Store } from '../artifacts/store.ts';
import type { TemporalTarget } from '../client/connect.ts';
import type { RunLook } from '../client/runs.ts';
import type { SweepLook, Sweeps } from '../client/sweeps.ts';
import { SoftflowError } from '../errors.ts';
import type { UiSource } from '../ui/source.ts';

export interface LastingOptions {
  storeRoot: string;
  /** The server to use at this moment; undefined while there is none. */
  findTarget: () => Promise<TemporalTarget | undefined>;
  /** For tests: how soon a server that was not there is looked for again. */
  retryMs?: number;
}

/** A connection, and what it was asked and has not answered yet. */
interface Server {
  client: Client;
  asked: Set<Promise<unknown>>;
}

const RETRY_MS = 5000;
const ANSWER_MS = 5000;
const SILENT = 'The Temporal server does not answer; this is where the run stood last.';

/**
 * What a page that stays open is drawn from. Store and server may come and go meanwhile: a store that is not there yet is
 * an empty one, and while no server answers the store tells where its runs stood.
 */
export class LastingSource implements UiSource {
  readonly #options: LastingOptions;
  #store: Store | undefined;
  /** Nothing changes a completed run any more, so the server is asked about each of them once. */
  readonly #completed = new Map<string, RunLook>();
  #server: Server | undefined;
  #attempt: Promise<Server | undefined> | undefined;
  #triedAt = 0;

  constructor(options: LastingOptions) {
    this.#options = options;
  }

  async list(): Promise<string[]> {
    return this.#fromStore([], async (store) => (await runsOf(store)).list());
  }

  async look(runId: string): Promise<RunLook> {
    const known = this.#completed.get(runId);
    if (known) return known;
    const store = await this.#requireStore(runId);
    const asked = await this.#askServer(async (client) => (await runsOf(store, client)).look(runId));
    if (asked.answer?.status.phase === 'completed') this.#completed.set(runId, asked.answer);
    if (asked.answer) return asked.answer;
    const look = await (await runsOf(store)).look(runId);
    return asked.silent && look.notice ? { ...look, notice: SILENT } : look;
  }

  async file(runId: string, path: string): Promise<Uint8Array> {
    const [{ readRunFile }, { readDecision }] = await Promise.all([
      import('../client/run-results.ts'),
      import('../artifacts/decisions.ts'),
    ]);
    const store = await this.#requireStore(runId);
    // Once its promotion is decided, a run has a report that says so.
    const decided = path === 'report.html' ? (await readDecision(store, runId))?.report : undefined;
    return decided ? store.getBytes(decided) : readRunFile(store, runId, path);
  }

  async sweeps(most: number) {
    const { Sweeps } = await import('../client/sweeps.ts');
    return this.#fromStore([], async (store) => {
      const stored = new Sweeps({ store });
      const ids = (await stored.list()).slice(0, most);
      return Promise.all(ids.map(({ sweepId }) => this.#lookAtSweep(store, stored, sweepId)));
    });
  }

  async schedules() {
    const store = await this.#openStore();
    if (!store) return undefined;
    const { Schedules } = await import('../client/schedules.ts');
    return (await this.#askServer((client) => new Schedules({ client, store }).list())).answer;
  }

  async releases() {
    const { auditTable } = await import('../artifacts/decisions.ts');
    return this.#fromStore([], auditTable);
  }

  async close(): Promise<void> {
    await this.#retire();
  }

  /** As for runs: a server that should answer and does not is trouble that is told. */
  async #lookAtSweep(store: Store, stored: Sweeps, sweepId: string): Promise<SweepLook> {
    const { Sweeps } = await import('../client/sweeps.ts');
    const recorded = await stored.look(sweepId);
    if (recorded.status.phase === 'completed') return recorded;
    const asked = await this.#askServer((client) => new Sweeps({ client, store }).look(sweepId));
    return asked.answer ?? (asked.silent && recorded.notice ? { ...recorded, notice: SILENT } : recorded);
  }

  async #openStore(): Promise<Store | undefined> {
    const [{ existsSync }, { openStore }] = await Promise.all([import('node:fs'), import('../artifacts/store.ts')]);
    if (!this.#store && existsSync(this.#options.storeRoot)) this.#store = await openStore(this.#options.storeRoot);
    return this.#store;
  }

  async #fromStore<T>(empty: T, read: (store: Store) => Promise<T>): Promise<T> {
    const store = await this.#openStore();
    return store ? read(store) : empty;
  }

  async #requireStore(runId: string): Promise<Store> {
    const store = await this.#openStore();
    if (store) return store;
    throw new SoftflowError('RUN_NOT_FOUND', `No run "${runId}": there is no store ${this.#options.storeRoot} yet.`);
  }

  /** `silent`: there should be an answer and there was none. What is refused with a code is thrown. */
  async #askServer<T>(ask: (client: Client) => Promise<T>): Promise<{ answer?: T; silent: boolean }> {
    const server = await this.#connect();
    if (!server) return { silent: false };
    const asking = server.client.withDeadline(Date.now() + ANSWER_MS, () => ask(server.client));
    server.asked.add(asking);
    try {
      return { answer: await asking, silent: false };
    } catch (error) {
      if (error instanceof SoftflowError) throw error;
      if (this.#server === server) void this.#retire();
      return { silent: true };
    } finally {
      server.asked.delete(asking);
    }
  }

  /** A connection that is closed while it is asked throws where nobody can catch it, so the last answer is waited for. */
  async #retire(): Promise<void> {
    const server = this.#server;
    this.#server = this.#attempt = undefined;
    if (!server) return;
    await Promise.allSettled(server.asked);
    await server.client.connection.close();
  }

  /** All who ask at once wait for the same attempt. */
  #connect(): Promise<Server | undefined> {
    const { retryMs = RETRY_MS } = this.#options;
    if (this.#server) return Promise.resolve(this.#server);
    if (!this.#attempt || Date.now() - this.#triedAt >= retryMs) {
      this.#triedAt = Date.now();
      this.#attempt = this.#tryServer();
    }
    return this.#attempt;
  }

  async #tryServer(): Promise<Server | undefined> {
    const { connect } = await import('../client/connect.ts');
    const target = await this.#options.findTarget();
    const client = target && (await connect(target, '2 seconds').catch(() => undefined));
    this.#server = client && { client, asked: new Set() };
    return this.#server;
  }
}

async function runsOf(store: Store, client?: Client) {
  const { Runs } = await import('../client/runs.ts');
  return new Runs({ store, ...(client ? { client } : {}) });
}
