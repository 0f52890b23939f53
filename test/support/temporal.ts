import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { connect, type TemporalTarget } from '../../client/connect.ts';
import { ensureTemporalServer } from '../../setup/temporal.ts';

export interface TestServer {
  target: TemporalTarget;
  client: Client;
  stop(): Promise<void>;
  /**
   * Kills it and starts another one on its port and its database file; clients and workers connect again.
   *
   * @param whileDown what happens while there is none
   */
  restart(whileDown?: () => Promise<void>): Promise<void>;
}

/** A real Temporal development server on a free port, its database in memory unless a file is given. */
export async function startTestServer(options: { database?: string; args?: string[] } = {}): Promise<TestServer> {
  const port = await freePort();
  const command = await ensureTemporalServer();
  const args = [
    'server',
    'start-dev',
    '--ip',
    '127.0.0.1',
    '--port',
    String(port),
    '--headless',
    '--log-level',
    'never',
  ];
  args.push(...(options.args ?? []));
  if (options.database) args.push('--db-filename', options.database);
  const launch = () => spawn(command, args, { stdio: 'ignore' });
  let server = launch();
  const target = { address: `127.0.0.1:${port}`, namespace: 'default' };
  const client = await connectPatiently(target);
  const end = async (signal: NodeJS.Signals) => {
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill(signal);
    await ended;
  };
  return {
    target,
    client,
    stop: async () => {
      await client.connection.close();
      await end('SIGTERM');
    },
    restart: async (whileDown) => {
      await end('SIGKILL');
      await whileDown?.();
      server = launch();
      await (await connectPatiently(target)).connection.close();
    },
  };
}

async function connectPatiently(target: TemporalTarget): Promise<Client> {
  for (let attempt = 0; ; attempt++) {
    try {
      const client = await connect(target);
      await client.connection.workflowService.describeNamespace({ namespace: target.namespace });
      return client;
    } catch (error) {
      if (attempt === 100) throw error;
      await sleep(100);
    }
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
