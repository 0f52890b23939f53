import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ArtifactRef } from '../../artifacts/artifact-ref.ts';
import { canonicalJson } from '../../artifacts/canonical-json.ts';
import type { Manifest } from '../../artifacts/manifest.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { verifyStore } from '../../artifacts/verify.ts';
import { defineRun } from '../../cli/define-run.ts';
import { Runs } from '../../client/runs.ts';
import { decodePredictions, encodePredictions } from '../../datasets/tables.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { ensurePython } from '../support/python.ts';
import { releasedFiles, startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

const example = (file: string) => fileURLToPath(new URL(`../../examples/python-worker/${file}`, import.meta.url));
const python = await ensurePython(example('requirements.txt')).catch((error: Error) => error);
const skipped = python instanceof Error ? ` (skipped, no Python packages: ${python.message})` : '';

describe.skipIf(python instanceof Error)(`a worker in Python${skipped}`, () => {
  const QUEUE = 'popularity-python';
  let folder: string;
  let server: TestServer;
  let worker: ChildProcess;
  const workers: RunningWorker[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-python-'));
    server = await startTestServer();
    for (const name of ['typescript', 'python']) workers.push(await startTestWorker(server, join(folder, name), name));
  });
  afterAll(async () => {
    worker?.kill('SIGTERM');
    for (const each of workers) each.shutdown();
    await Promise.all(workers.map((each) => each.done));
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const settings = tinyConfig({ train: { maxEpochs: 1, batchSize: 8, microBatchSize: 4 } });

  async function run(
    name: string,
    stepQueues = {},
  ): Promise<{ store: Store; status: RunStatus; popularity: Manifest }> {
    const store = await openStore(join(folder, name));
    const runs = new Runs({ client: server.client, store, taskQueue: name, heartbeatTimeoutSeconds: 5 });
    const status = await runs.result(await runs.start(defineRun({ ...settings, stepQueues })));
    const key = status.steps.find(({ id }) => id === 'test-popularity')?.key ?? '';
    return { store, status, popularity: (await store.readManifest(key)) as Manifest };
  }

  /** The example as it is; its first line says that it polls. */
  async function startPython(storeRoot: string): Promise<void> {
    const args = [
      example('worker.py'),
      '--address',
      server.target.address,
      '--store',
      storeRoot,
      '--task-queue',
      QUEUE,
    ];
    worker = spawn(python as string, ['-B', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ready = once(worker.stdout as NodeJS.ReadableStream, 'data');
    const ended = once(worker, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${code}`)));
    expect(String(await Promise.race([ready, ended]))).toContain('serving evaluatePopularity');
    ended.catch(() => {});
  }

  test('takes over one step of a run: same key, same result, same table, same metrics.json', async () => {
    const ours = await run('typescript');
    await startPython(join(folder, 'python'));
    const theirs = await run('python', { evaluatePopularity: QUEUE });

    expect(Object.keys(theirs.popularity.fingerprint).sort()).toEqual(['pyarrow', 'python']);
    expect(Object.keys(ours.popularity.fingerprint)).toEqual(['node']);
    const { outputs: theirOutputs, fingerprint: _, ...same } = theirs.popularity;
    const { outputs: ourOutputs, fingerprint: __, ...expected } = ours.popularity;
    expect(canonicalJson(same)).toBe(canonicalJson(expected));

    const bytes = ({ store }: { store: Store }, { predictions }: Record<string, ArtifactRef>) =>
      store.getBytes(predictions as ArtifactRef);
    const written = await bytes(theirs, theirOutputs);
    const rows = decodePredictions(written);
    expect(theirOutputs['predictions']).toMatchObject({ rows: rows.length, schema: 'predictions' });
    // Arrow libraries lay the same table out in bytes of their own; what is in it is the same to the bit.
    expect(Buffer.from(encodePredictions(rows))).toEqual(Buffer.from(await bytes(ours, ourOutputs)));

    const released = async ({ store, status }: typeof ours) => {
      const files = await releasedFiles(store, status);
      return [files['metrics.json'], files['adapter/adapter_model.safetensors'], files['adapter/README.md']];
    };
    expect(await released(theirs)).toEqual(await released(ours));
    expect((await verifyStore(theirs.store)).findings).toEqual([]);
  });

  test('a second run of the same recipe finds its step done', async () => {
    const again = await run('python', { evaluatePopularity: QUEUE });
    expect(again.status.steps.find(({ id }) => id === 'test-popularity')?.state).toBe('reused');
  });
});
