import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../artifacts/store.ts';
import { loadConfigFile } from '../../cli/config-file.ts';
import { writeRunView } from '../../client/run-view.ts';
import { Runs } from '../../client/runs.ts';
import { decodePeftAdapter } from '../../model/peft.ts';
import { findMovielens100k } from '../../setup/data-source.ts';
import { findModel } from '../../setup/model-source.ts';
import { type RunningWorker, startWorker } from '../../workers/worker.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
// Child processes run from the sources, and the log of the Temporal SDK is quiet.
import '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';

const { config } = loadConfigFile(fileURLToPath(new URL('./smollm2.yaml', import.meta.url)));
const cached = (await findModel({ registry: 'smollm2-135m-instruct' })) && (await findMovielens100k());

describe.skipIf(!cached)('SmolLM2 on MovieLens-100K from the cache', () => {
  let folder: string;
  let server: TestServer;
  let worker: RunningWorker;
  let store: Store;
  let runs: Runs;
  let first: RunStatus;
  let view: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-smollm2-'));
    const storeRoot = join(folder, 'store');
    server = await startTestServer();
    worker = await startWorker({ target: server.target, queues: QUEUE_KINDS, storeRoot, backend: 'tensorflow' });
    store = await openStore(storeRoot);
    runs = new Runs({ client: server.client, store });
  });
  afterAll(async () => {
    worker?.shutdown();
    await worker?.done;
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('A run ends with falling losses and a lambda below 1.', async () => {
    const runId = await runs.start(config);
    first = await runs.result(runId);
    view = await writeRunView(store, runId, join(folder, 'runs'));
    expect(first.sft.map(({ epoch }) => epoch)).toEqual([1, 2]);
    expect(first.sft[1]?.trainLoss).toBeLessThan(first.sft[0]?.trainLoss as number);
    expect(first.curriculum[0]?.lambda).toBe(1);
    expect(first.curriculum[1]?.lambda).toBeLessThan(1);
    expect(first.curriculum[1]?.trainLoss).toBeGreaterThan(0);
  });

  test('It leaves metrics of every model, an adapter in PEFT layout, its lineage and a report.', async () => {
    expect(await readdir(view)).toEqual(expect.arrayContaining(['adapter', 'metrics.json', 'report.html', 'run.json']));
    const metrics = JSON.parse(await readFile(join(view, 'metrics.json'), 'utf8'));
    for (const model of ['popularity', 'zeroShot', 'sft', 'soft'])
      expect(metrics.models[model].test).toMatchObject({ windows: 16, hr: { 50: expect.any(Number) } });
    expect(metrics.curriculum).toHaveLength(2);

    const { lora, parameters } = await decodePeftAdapter(join(view, 'adapter'));
    expect(lora).toMatchObject({ rank: 8, loraAlpha: 16, targets: ['q_proj', 'v_proj'] });
    const moved = [...parameters].filter(([name]) => name.includes('lora_B'));
    expect(moved).toHaveLength(60);
    for (const [, { data }] of moved) expect(data.some((value) => value !== 0)).toBe(true);

    const run = JSON.parse(await readFile(join(view, 'run.json'), 'utf8'));
    expect(run.lineage.steps.map(({ id }: { id: string }) => id)).toContain('soft-2-train');
    const report = await readFile(join(view, 'report.html'), 'utf8');
    expect(report).toContain('smollm2-test');
    expect(report).not.toMatch(/(src|href)="https?:/);
  });

  test('The same recipe again reuses every step.', async () => {
    const again = await runs.result(await runs.start(config));
    const others = again.steps.filter(({ step }) => step !== 'renderReport');
    expect(new Set(others.map(({ state }) => state))).toEqual(new Set(['reused']));
    expect(again.curriculum).toEqual(first.curriculum);
  });
});
