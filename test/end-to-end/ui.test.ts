import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { promoteRun } from '../../artifacts/decisions.ts';
import { openStore, type Store } from '../../artifacts/store.ts';
import { LastingSource } from '../../cli/ui-source.ts';
import { readRunFile } from '../../client/run-results.ts';
import { Runs } from '../../client/runs.ts';
import { Schedules } from '../../client/schedules.ts';
import { type RunningUi, startUi } from '../../ui/server.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { RunConfigSchema } from '../../workflows/run-config.ts';
import { openBrowser, openPage, type Watched } from '../support/browser.ts';
import { startTestWorker, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';

/** The page over a real server, store and worker; only the tensor work is a stub. */
const { browser, title } = await openBrowser();

describe.skipIf(!browser)(`softflow ui over a run at work ${title}`, () => {
  let folder: string;
  let server: TestServer;
  let worker: RunningWorker;
  let store: Store;
  let source: LastingSource;
  let ui: RunningUi;
  let watched: Watched;
  let page: Page;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'softflow-ui-'));
    server = await startTestServer();
    store = await openStore(join(folder, 'store'), { create: true });
    worker = await startTestWorker(server, store.root, 'ui');
    source = new LastingSource({ storeRoot: store.root, findTarget: async () => server.target, retryMs: 100 });
    ui = await startUi(source, { port: 0, pollMs: 100 });
    watched = await openPage(browser!);
    page = watched.page;
  });
  afterAll(async () => {
    await browser?.close();
    await ui?.close();
    await source?.close();
    await stopServer();
    await rm(folder, { recursive: true, force: true });
  });

  /** The worker first: one without a server takes its time to end. */
  let stopped: Promise<void> | undefined;
  async function endWorkerAndServer(): Promise<void> {
    worker?.shutdown();
    await worker?.done;
    await server?.stop();
  }
  function stopServer(): Promise<void> {
    stopped ??= endWorkerAndServer();
    return stopped;
  }

  let runId = '';

  it('shows where the run is, and moves on with it', async () => {
    const place = (batch: number) => ({
      step: 'trainEpoch',
      stage: 'sft',
      epoch: 1,
      position: `micro-batch ${batch}`,
    });
    const first = new Hold(store.root, place(4));
    const runs = new Runs({ client: server.client, store, taskQueue: 'ui', heartbeatTimeoutSeconds: 3 });
    runId = await runs.start(RunConfigSchema.parse(tinyConfig()));
    await page.goto(ui.url);
    await first.reached();
    await page.getByRole('link', { name: runId }).click();
    await page.getByText('micro-batch 4', { exact: false }).waitFor();
    expect(await page.locator('progress').getAttribute('value')).toBe('3');
    const second = new Hold(store.root, place(10));
    await second.reached();
    await page.getByText('micro-batch 10', { exact: false }).waitFor();
    expect(await page.locator('progress').getAttribute('value')).toBe('9');
    second.release();
    await page.locator('.phase.completed').waitFor();
    expect(await page.getByRole('row', { name: /epoch/ }).count()).toBeGreaterThan(4);
  });

  it('shows the numbers of its metrics.json, on the page and in the report', async () => {
    const metrics = JSON.parse(Buffer.from(await readRunFile(store, runId, 'metrics.json')).toString()) as {
      models: Record<string, { test: Record<'hr' | 'ndcg', Record<string, number>> }>;
    };
    await page.reload();
    for (const at of ['page', 'report']) {
      for (const model of ['zeroShot', 'popularity', 'sft', 'soft']) {
        const { hr, ndcg } = metrics.models[model]!.test;
        const shown = await page
          .locator(`tr[data-model="${model}"] td`)
          .evaluateAll((cells) => cells.map((cell) => Number(cell.firstChild?.textContent)));
        const expected = [hr, ndcg].flatMap((of) => ['1', '5', '10'].map((k) => Number(of[k]!.toFixed(4))));
        expect(shown, `${model}, ${at}`).toEqual(expected);
      }
      if (at === 'page') await page.getByRole('link', { name: /^Report/ }).click();
    }
  });

  it('shows schedules as the server has them, and releases as the store has them', async () => {
    const schedules = new Schedules({ client: server.client, store, taskQueue: 'ui' });
    await schedules.create('nightly', { config: RunConfigSchema.parse(tinyConfig()), cron: '0 3 * * *' });
    // The server lists what it has created a moment later.
    await until(async () => typeof (await schedules.list())[0]?.next === 'string', 60);
    const { status } = await source.look(runId);
    const release = status.steps.find(({ step }) => step === 'release')?.key as string;
    const promotion = { release, runId, expected: 0, by: 'ana', reason: 'the first', metrics: {} };
    await promoteRun(store, promotion, () => store.putBytes(Buffer.from('<title>decided</title>')));
    expect(await (await fetch(new URL(`/runs/${runId}/report`, ui.url))).text()).toBe('<title>decided</title>');
    await page.goto(new URL('/schedules', ui.url).href);
    expect(await page.getByRole('row', { name: /nightly/ }).textContent()).toMatch(
      /nightly0 3 \* \* \*UTCactive\d{4}-/,
    );
    await page.getByRole('link', { name: 'Releases' }).click();
    const row = page.getByRole('row', { name: /the first/ });
    expect(await row.textContent()).toContain(`promote1 current${runId}${release.slice(0, 12)}ana`);
  });

  it('asked nothing of anybody else, and had nothing to complain of', () => {
    expect(watched.requests.filter((address) => !address.startsWith(ui.url))).toEqual([]);
    expect(watched.complaints).toEqual([]);
  });

  it('goes on from the store when the server is gone', async () => {
    await stopServer();
    await page.goto(ui.url);
    expect(await page.getByRole('row', { name: new RegExp(runId) }).textContent()).toContain('completed');
    await page.getByRole('link', { name: 'Schedules' }).click();
    await page.getByText('No Temporal server answers').waitFor();
  });
});
