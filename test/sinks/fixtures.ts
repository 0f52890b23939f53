import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { openStore, type Store } from '../../artifacts/store.ts';
import { Sinks } from '../../sinks/sinks.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { plannedSteps } from '../../workflows/run-plan.ts';
import type { EpochRow, RunPhase, RunStatus } from '../../workflows/run-state.ts';
import { tinyConfig } from '../support/soft-run.ts';

export const RUN = 'tiny-0123abcd';
const config = RunConfigSchema.parse(tinyConfig({ tags: ['nightly'] }));

const METRICS = {
  models: {
    chance: { hr: { 10: 0.1 }, ndcg: { 10: 0.04 } },
    soft: { test: { hr: { 1: 0.2, 10: 0.6 }, ndcg: { 10: 0.4 }, windows: 12 } },
  },
};

export const row = (epoch: number, lambda: number): EpochRow => ({
  epoch,
  lambda,
  distance: lambda > 0 ? 10 : null,
  distanceAfter: lambda > 0 ? 8 : null,
  trainLoss: 3 - epoch,
  validation: { hr: { 10: 0.25 * epoch }, ndcg: { 10: 0.125 }, windows: 8 },
});

/** A store with the records of one run, which can be brought further. */
export class RecordedStore {
  readonly store: Store;

  private constructor(store: Store) {
    this.store = store;
  }

  static async open(folder: string): Promise<RecordedStore> {
    const store = await openStore(folder, { create: true });
    await store.putRunRecord(RUN, 'config', config);
    await store.putRunRecord(RUN, 'start', {
      createdAt: '2026-01-02T03:04:05.000Z',
      tags: ['nightly'],
      recipe: 'r.yaml',
    });
    return new RecordedStore(store);
  }

  /** Writes where the run stands after so many epochs of SFT and rounds. */
  async record(phase: RunPhase, sft: number, rounds: number): Promise<void> {
    const steps = plannedSteps(config);
    for (let epoch = 1; epoch <= sft; epoch++) {
      const key = String(epoch).padStart(64, '0');
      const step = steps.find(({ id }) => id === `sft-${epoch}-train`);
      Object.assign(step ?? {}, { key, state: 'run' });
      await this.#manifest(key, {}, { globalStep: 2 * epoch, stepLosses: [4 - epoch, 3.5 - epoch] });
    }
    if (phase === 'completed') {
      const key = 'f'.repeat(64);
      Object.assign(steps.find(({ id }) => id === 'release') ?? {}, { key, state: 'run' });
      const put = (text: string) => this.store.putBytes(Buffer.from(text));
      await this.#manifest(key, {
        'metrics.json': await put(JSON.stringify(METRICS)),
        'adapter/adapter_model.safetensors': await put('adapter'),
      });
    }
    const rows = (count: number, lambda: number) => Array.from({ length: count }, (_, i) => row(i + 1, lambda));
    const status: RunStatus = {
      runId: RUN,
      phase,
      stage: 'sft',
      steps,
      sft: rows(sft, 0),
      curriculum: rows(rounds, 0.5),
      curriculumAlpha: 1,
      latest: {},
      ...(phase === 'failed' ? { error: { code: 'NO_PROGRESS', message: 'died', retryable: false } } : {}),
    };
    await this.store.putRunRecord(RUN, 'status', status);
  }

  async #manifest(key: string, outputs: object, result: object = {}): Promise<void> {
    if (await this.store.readManifest(key)) return;
    await this.store.writeManifest(key, {
      version: 1,
      step: 'trainEpoch',
      contractVersion: 1,
      key,
      inputs: {},
      params: {},
      outputs: outputs as never,
      result: result as never,
      fingerprint: {},
    });
  }
}

/** Tells the sinks of an environment of a whole run, record by record, each through a worker of its own. */
export async function tellWholeRun(
  folder: string,
  env: Record<string, string>,
  end: RunPhase = 'completed',
): Promise<void> {
  const run = await RecordedStore.open(await mkdtemp(join(folder, 'store-')));
  for (const [phase, sft, rounds] of [
    ['running', 0, 0],
    ['running', 1, 0],
    ['running', 2, 1],
    [end, 2, 2],
    [end, 2, 2],
  ] as const) {
    await run.record(phase, sft, rounds);
    const failed = (sink: string, error: Error) => expect.unreachable(`${sink}: ${error.message}`);
    await new Sinks({ store: run.store, env, failed }).report(RUN);
  }
}

export interface Received {
  method: string;
  path: string;
  authorization: string | undefined;
  body: Record<string, unknown>;
}

/** A server that keeps what it is sent and answers as it is told. */
export async function startReceiver(answer: (received: Received) => { status?: number; body?: unknown } | undefined) {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = text === '' ? {} : JSON.parse(text);
    const { method = '', url = '', headers } = request;
    const entry = { method, path: url, authorization: headers.authorization, body };
    received.push(entry);
    const answered = answer(entry);
    // Without an answer the connection stays open, as of a server that hangs.
    if (answered) response.writeHead(answered.status ?? 200).end(JSON.stringify(answered.body ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
