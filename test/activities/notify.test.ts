import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Notification, notify } from '../../activities/notify.ts';

const folder = mkdtempSync(join(tmpdir(), 'softflow-notify-'));
const notification: Notification = {
  event: 'promoted',
  text: 'promoted: better',
  schedule: 'nightly',
  workflowId: 'nightly-1',
  runId: 'nightly-20261125t030000z-3f2a',
  asOf: '2026-11-25T03:00:00.000Z',
  champion: null,
  challenger: 'ab',
  error: null,
};

let receiver: Server;
let address: string;
const received: unknown[] = [];
beforeAll(async () => {
  receiver = createServer((request, response) => {
    if (request.url === '/moved') return response.writeHead(302, { location: '/hook' }).end();
    if (request.url === '/broken') return response.writeHead(500).end();
    let body = '';
    request.on('data', (part) => (body += part));
    request.on('end', () => {
      received.push(JSON.parse(body));
      response.end();
    });
    return undefined;
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
});
afterAll(() => {
  receiver.close();
  rmSync(folder, { recursive: true });
});

const post = (url: string | undefined) => notify({ notification, webhook: { urlEnv: 'HOOK' } }, { HOOK: url });
const run = (command: string[], allowed = '1') =>
  notify({ notification, command }, { SOFTFLOW_NOTIFY_COMMANDS: allowed });

test('a webhook gets the event as JSON', async () => {
  await post(`${address}/hook`);
  expect(received).toEqual([notification]);
});

test('a webhook that fails may be tried again, and a redirect is not followed', async () => {
  await expect(post(`${address}/broken`)).rejects.toMatchObject({ code: 'NOTIFY_FAILED', retryable: true });
  await expect(post(`${address}/moved`)).rejects.toMatchObject({ code: 'NOTIFY_FAILED' });
  expect(received).toHaveLength(1);
});

test.each([undefined, '', 'not a url s3cret', 'file:///etc/s3cret', 'postgres://u:s3cret@host/db'])(
  'a variable that holds %j is refused without being shown',
  async (url) => {
    const error = await post(url).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'NOTIFY_REFUSED', retryable: false });
    expect(JSON.stringify({ ...(error as Error), message: (error as Error).message })).not.toContain('s3cret');
  },
);

test('the URL of a webhook that cannot be reached is not shown', async () => {
  const error = await post('http://127.0.0.1:1/s3cret').catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'NOTIFY_FAILED', message: expect.not.stringContaining('s3cret') });
});

test('a command is started without a shell and reads the event from its input', async () => {
  const [file, injected] = [join(folder, 'event.json'), join(folder, 'injected')];
  const program = 'require("fs").writeFileSync(process.argv[1], require("fs").readFileSync(0))';
  await run([process.execPath, '-e', program, file, `; touch ${injected}`, `$(touch ${injected})`]);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(notification);
  expect(existsSync(injected)).toBe(false);
});

test('a command that fails or is not there may be tried again', async () => {
  await expect(run([process.execPath, '-e', 'process.exit(3)'])).rejects.toMatchObject({
    code: 'NOTIFY_FAILED',
    retryable: true,
    message: expect.stringContaining('exit code 3'),
  });
  await expect(run([join(folder, 'nothing')])).rejects.toMatchObject({ code: 'NOTIFY_FAILED' });
});

test('a command is refused where the worker does not allow it', async () => {
  await expect(run([process.execPath, '-e', ''], '')).rejects.toMatchObject({ code: 'NOTIFY_REFUSED' });
});
