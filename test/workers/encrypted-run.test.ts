import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { WorkflowFailedError } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore } from '../../artifacts/store.ts';
import { connect } from '../../client/connect.ts';
import { Runs } from '../../client/runs.ts';
import { decodeTitles } from '../../datasets/tables.ts';
import { startCodecServer } from '../../encryption/codec-server.ts';
import { dataConverter } from '../../encryption/data-converter.ts';
import { encryptionKeys } from '../../encryption/keys.ts';
import { EncryptionCodec } from '../../encryption/payload-codec.ts';
import { ensureTemporalServer } from '../../setup/temporal.ts';
import { workflowBundle } from '../../workers/workflow-bundle.ts';
import type { RunStatus } from '../../workflows/run-state.ts';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { startSoft, tinyConfig } from '../support/soft-run.ts';
import { Hold } from '../support/stub-hold.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { until } from '../support/until.ts';
import { WorkerProcess } from '../support/worker-process.ts';

/** Both are known everywhere before the new one writes, as SECURITY.md has it. */
const KEYS = { OLD_KEY: randomBytes(32).toString('base64'), NEW_KEY: randomBytes(32).toString('base64') };
const OLD = { ...KEYS, SOFTFLOW_ENCRYPTION_KEYS: 'old=env:OLD_KEY,new=env:NEW_KEY' };
const NEW = { ...KEYS, SOFTFLOW_ENCRYPTION_KEYS: 'new=env:NEW_KEY,old=env:OLD_KEY' };
const NONE = { SOFTFLOW_ENCRYPTION_KEYS: '' };
/** Words of a recipe that belong to nobody but its owner. */
const WORDS = { tag: 'tagcanary', noun: 'nouncanary', nounSingular: 'oncanary', path: 'pathcanary' };

const folder = mkdtempSync(join(tmpdir(), 'softflow-encrypted-'));
const storeRoot = join(folder, 'store');
let server: TestServer;
const workers: WorkerProcess[] = [];

beforeAll(async () => {
  Object.assign(process.env, OLD);
  server = await startTestServer({ database: join(folder, 'temporal.db') });
});
afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await server?.stop();
  for (const name of Object.keys(OLD)) delete process.env[name];
  rmSync(folder, { recursive: true, force: true });
});

function openWorker(env: Record<string, string>, taskQueue = 'encrypted'): WorkerProcess {
  const options = { queues: QUEUE_KINDS, log: join(folder, 'worker.log') };
  const worker = new WorkerProcess(server, storeRoot, taskQueue, env, undefined, options);
  workers.push(worker);
  return worker;
}

const config = () => {
  const { noun, nounSingular, tag } = WORDS;
  return tinyConfig({ tags: [tag], prompt: { noun, nounSingular, verb: 'read' } });
};

/** Everything that the server has on disk. */
const database = () =>
  readdirSync(folder)
    .filter((name) => name.startsWith('temporal.db'))
    .map((name) => readFileSync(join(folder, name), 'latin1'))
    .join('');

async function titlesOf({ steps }: RunStatus): Promise<string[]> {
  const store = await openStore(storeRoot);
  const manifest = await store.readManifest(steps.find(({ step }) => step === 'prepareData')?.key as string);
  return decodeTitles(await store.getBytes(manifest!.outputs['titles']!)).map(({ title }) => title);
}

/** What Temporal's own CLI prints of a run. */
async function shown(workflowId: string, ...args: string[]): Promise<string> {
  const command = await ensureTemporalServer();
  const where = ['--address', server.target.address, '-w', workflowId, '--output', 'json'];
  const options = { maxBuffer: 64 * 2 ** 20 };
  return (await promisify(execFile)(command, ['workflow', 'show', ...where, ...args], options)).stdout;
}

/** With the data of payloads as text. */
const readable = (json: string) =>
  json.replace(/"data": "([^"]+)"/g, (_, data: string) => Buffer.from(data, 'base64').toString('utf8'));

let status: RunStatus;

test('Runs begun under one key go on under the next, and nothing of recipe or data is in clear on the server (S5, S6)', async (context) => {
  const first = openWorker(OLD);
  const hold = new Hold(storeRoot, { step: 'trainEpoch', stage: 'sft', epoch: 1, position: 'micro-batch 6' });
  const handle = await startSoft(server, 'encrypted', { config: config(), workflowId: 'rotated' });
  await hold.reached(300);
  const runs = new Runs({ client: server.client, store: await openStore(storeRoot) });
  await until(async () => (await runs.look('rotated')).progress[0]?.step === 'trainEpoch', 120);
  await first.stop();
  hold.release();
  openWorker(NEW);
  status = await handle.result();
  expect(status.phase).toBe('completed');

  const source = { csv: { interactions: `/nowhere/${WORDS.path}.csv`, items: `/nowhere/${WORDS.path}-items.csv` } };
  const failing = await startSoft(server, 'encrypted', {
    config: { ...config(), data: { ...config().data, source } },
    workflowId: 'failed',
  });
  const failure = await failing.result().catch((error: unknown) => error as WorkflowFailedError);
  expect((failure as WorkflowFailedError).cause).toMatchObject({
    type: 'DATA_NOT_FOUND',
    message: expect.stringContaining(WORDS.path),
  });

  const titles = await titlesOf(status);
  expect(titles.length).toBeGreaterThan(30);
  const written = database();
  expect(written).toContain('softWorkflow');
  expect(written).toContain('Encoded failure');
  const secrets = [...titles, ...Object.values(WORDS), ...Object.values(KEYS), 'curriculumAlpha', 'learningRate'];
  const spellings = secrets.flatMap((text) => [text, Buffer.from(text).toString('base64').replace(/=+$/, '')]);
  expect(spellings.filter((text) => written.includes(text))).toEqual([]);
  const raw = (await shown('rotated')) + (await shown('failed'));
  expect(spellings.filter((text) => raw.includes(text))).toEqual([]);
  for (const id of ['old', 'new']) expect(raw).toContain(`"${Buffer.from(id).toString('base64')}"`);
  faultFigure(
    context,
    secrets.length,
    `${titles.length} titles and ${secrets.length - titles.length} words of recipes, none in clear`,
  );
});

test('Temporal’s CLI reads them by way of the codec server, and they replay (S6, R13)', async () => {
  const codec = new EncryptionCodec(encryptionKeys(NEW));
  const served = await startCodecServer({ codec, port: 0, token: 'codec-token' });
  try {
    const codecOptions = ['--codec-endpoint', served.url, '--codec-auth', 'Bearer codec-token'];
    expect(readable(await shown('rotated', ...codecOptions))).toContain(WORDS.noun);
    const failed = readable(await shown('failed', ...codecOptions));
    expect(failed).toMatch(new RegExp(`"message": ?"[^"]*${WORDS.path}`));
  } finally {
    await served.close();
  }
  const converter = dataConverter(NEW);
  for (const workflowId of ['rotated', 'failed'])
    await Worker.runReplayHistory(
      { workflowBundle: await workflowBundle(converter), dataConverter: converter },
      await server.client.workflow.getHandle(workflowId).fetchHistory(),
      workflowId,
    );
});

test('Without the key a worker waits, a client is told which one is missing, and both go on once they have it (S6)', async () => {
  const keyless = openWorker(NONE, 'keyless');
  const handle = await startSoft(server, 'keyless', { config: config(), workflowId: 'waiting' });
  await until(() => /encrypted with the key \\?"old\\?"/.test(readFileSync(join(folder, 'worker.log'), 'utf8')), 300);
  await until(async () => Number((await handle.describe()).raw.pendingWorkflowTask?.attempt ?? 1) > 1, 300);
  await keyless.stop();

  Object.assign(process.env, NONE);
  const blind = await connect(server.target);
  Object.assign(process.env, OLD);
  await expect(blind.workflow.getHandle('rotated').result()).rejects.toMatchObject({
    code: 'ENCRYPTION_KEY_MISSING',
    message: expect.stringContaining('SOFTFLOW_ENCRYPTION_KEYS is not set'),
  });
  await blind.connection.close();
  openWorker(NEW, 'keyless');
  expect(await handle.result()).toMatchObject({ phase: 'completed' });
});
