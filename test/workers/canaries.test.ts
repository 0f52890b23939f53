import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkflowFailedError } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeTinyModel } from '../../model/tiny-model.ts';
import { QUEUE_KINDS } from '../../workflows/task-queues.ts';
import { faultFigure } from '../support/fault-figures.ts';
import { startSoft, tinyConfig } from '../support/soft-run.ts';
import { startTestServer, type TestServer } from '../support/temporal.ts';
import { WorkerProcess } from '../support/worker-process.ts';

const canary = (name: string) => `canary${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;
/** Secrets as people set them where a worker runs; the first is the one that the recipe names. */
const SECRETS = Object.fromEntries(
  ['MODEL_TOKEN', 'HF_TOKEN', 'TEMPORAL_API_KEY', 'AWS_SECRET_ACCESS_KEY', 'DATABASE_URL', 'WEBHOOK_URL'].map(
    (name) => [name, canary(name)],
  ),
);
const COMMIT = 'c'.repeat(40);
const CONFIG = tinyConfig({ model: { source: { hub: 'org/tiny', tokenEnv: 'MODEL_TOKEN' } } });

const folder = mkdtempSync(join(tmpdir(), 'softflow-canaries-'));
const log = join(folder, 'worker.log');
const database = join(folder, 'temporal.db');
const storeRoot = join(folder, 'store');
let server: TestServer;
const workers: WorkerProcess[] = [];
const tokensSeen = new Set<string>();
/** What the hub does next: it refuses and repeats the token it was given, then sends a damaged file once, then works. */
let mood: 'refuse' | 'damage' | 'serve' = 'refuse';

const hub = createServer(async (request, response) => {
  const token = request.headers.authorization ?? '';
  tokensSeen.add(token);
  const name = request.url?.split('/').at(-1) ?? '';
  const model = join(folder, 'model');
  if (mood === 'refuse') response.writeHead(403, { 'x-echo': token }).end(`no access for ${token}`);
  else if (request.url?.startsWith('/api/models/')) {
    const siblings = readdirSync(model).map((file) => ({ rfilename: file, ...described(join(model, file)) }));
    response.end(JSON.stringify({ sha: COMMIT, siblings }));
  } else if (mood === 'damage' && name === 'config.json') {
    mood = 'serve';
    response.end(Buffer.alloc(statSync(join(model, name)).size, token));
  } else response.end(readFileSync(join(model, name)));
});

function described(path: string) {
  const bytes = readFileSync(path);
  return {
    size: bytes.length,
    blobId: createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex'),
  };
}

beforeAll(async () => {
  await writeTinyModel(join(folder, 'model'));
  await once(hub.listen(0, '127.0.0.1'), 'listening');
  server = await startTestServer({ database });
});
afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await server?.stop();
  hub.close();
  rmSync(folder, { recursive: true, force: true });
});

function openWorker(env: Record<string, string> = {}): WorkerProcess {
  const endpoint = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
  const own = { ...SECRETS, HF_ENDPOINT: endpoint, SOFTFLOW_CACHE: join(folder, 'cache'), ...env };
  const worker = new WorkerProcess(server, storeRoot, 'canaries', own, undefined, { queues: QUEUE_KINDS, log });
  workers.push(worker);
  return worker;
}

/** Runs to the end of a run and returns the text of its failure; empty when it completed. */
async function runOnce(workflowId: string): Promise<string> {
  const run = await startSoft(server, 'canaries', { config: CONFIG, workflowId });
  const error = await run.result().then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (error === undefined) return '';
  expect(error).toBeInstanceOf(WorkflowFailedError);
  return everyText(error, new Set());
}

/** Every text inside a value, payloads and the causes of errors included. */
function everyText(value: unknown, seen: Set<unknown>): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (typeof value !== 'object' || value === null) return `${value}\n`;
  if (seen.has(value)) return '';
  seen.add(value);
  return Object.getOwnPropertyNames(value)
    .map((name) => `${name} ${everyText((value as Record<string, unknown>)[name], seen)}`)
    .join('');
}

async function histories(): Promise<string> {
  let text = '';
  for await (const { workflowId, runId, raw } of server.client.workflow.list()) {
    const handle = server.client.workflow.getHandle(workflowId, runId);
    text += everyText([raw, await handle.fetchHistory()], new Set());
  }
  return text;
}

const filesBelow = (root: string) =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => join(root, name))
    .filter((path) => statSync(path).isFile());

test('secrets reach no history, log, store or error text, in runs that fail and one that completes (S5)', async (context) => {
  let worker = openWorker({ STUB_CRASH: 'trainEpoch, micro-batch 6' });
  const refused = await runOnce('refused');
  expect(refused).toContain('HUB_ACCESS');
  mood = 'damage';
  const crashed = await runOnce('crashed');
  expect(crashed).toContain('NO_PROGRESS');
  expect(mood).toBe('serve');
  await worker.stop();
  worker = openWorker();
  expect(await runOnce('crashed')).toBe('');
  const environment = readFileSync(`/proc/${(await worker.trainer()).pid}/environ`, 'latin1');
  expect(environment).toContain('SOFTFLOW_CACHE=');
  for (const name of Object.keys(SECRETS)) expect(environment).not.toContain(`${name}=`);
  expect([...tokensSeen]).toEqual([`Bearer ${SECRETS['MODEL_TOKEN']}`]);
  await worker.stop();

  const databaseFiles = readdirSync(folder)
    .filter((name) => name.startsWith('temporal.db'))
    .map((name) => join(folder, name));
  const written = new Map<string, string>([
    ['the errors', refused + crashed],
    ['the environment of the trainer', environment],
    ['the histories', await histories()],
    ...[log, ...filesBelow(storeRoot), ...filesBelow(join(folder, 'cache')), ...databaseFiles].map(
      (path): [string, string] => [path, readFileSync(path, 'latin1')],
    ),
  ]);
  // What is looked through holds what it should.
  expect(written.get('the histories')).toContain('MODEL_TOKEN');
  expect(written.get(database)).toContain('MODEL_TOKEN');
  expect(written.get(log)).toContain('The hub refused org/tiny');
  expect(written.size).toBeGreaterThan(50);
  const found = Object.entries(SECRETS).flatMap(([name, secret]) =>
    [secret, Buffer.from(secret).toString('base64').slice(0, -4)].flatMap((spelling) =>
      [...written].filter(([, text]) => text.includes(spelling)).map(([place]) => `${name} in ${place}`),
    ),
  );
  expect(found).toEqual([]);
  faultFigure(context, Object.keys(SECRETS).length, `${written.size} files and histories without a secret`);
});
