import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SoftflowError } from '../errors.ts';

export interface HealthPlace {
  /** 0: any free one. */
  port: number;
  /** Address to listen on; another one than the default is for probes that come over a network. @default '127.0.0.1' */
  host?: string;
}

/** What a path answers with; an object goes out as JSON. */
export interface HealthAnswer {
  status: number;
  body: object | string;
  /** Of a text. @default 'text/plain; charset=utf-8' */
  contentType?: string;
}

/** Path to what answers there, to GET and HEAD alone. */
export type HealthRoutes = Record<string, () => HealthAnswer | Promise<HealthAnswer>>;

export interface HealthServer {
  url: string;
  close(): Promise<void>;
}

/** Probes ask one at a time; whoever opens more has other plans. */
const MAX_CONNECTIONS = 64;

/**
 * Serves what says how a process does. Nothing it answers is secret, and nothing can be changed through it.
 *
 * @throws SoftflowError `HEALTH_CANNOT_LISTEN`
 */
export async function startHealthServer(place: HealthPlace, routes: HealthRoutes): Promise<HealthServer> {
  const { port, host = '127.0.0.1' } = place;
  const server = createServer({ requestTimeout: 5000 }, (request, response) => void answer(routes, request, response));
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(error, host, port)));
    server.listen(port, host, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(routes: HealthRoutes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, body, contentType } = await find(routes, request).catch((error: Error) => ({
    status: 500,
    body: error.message,
    contentType: undefined,
  }));
  const text = typeof body === 'string' ? body : `${JSON.stringify(body)}\n`;
  const type = typeof body === 'string' ? (contentType ?? 'text/plain; charset=utf-8') : 'application/json';
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  // Node leaves the body of an answer to HEAD out by itself.
  response.end(text);
}

async function find(routes: HealthRoutes, { method, url = '' }: IncomingMessage): Promise<HealthAnswer> {
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, body: 'Only GET and HEAD.\n' };
  const path = url.split('?', 1)[0] as string;
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  return route ? route() : { status: 404, body: `Nothing here; there are ${Object.keys(routes).join(', ')}.\n` };
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): SoftflowError {
  const why = error.code === 'EADDRINUSE' ? 'the port is taken' : error.message;
  return new SoftflowError(
    'HEALTH_CANNOT_LISTEN',
    `Cannot listen on port ${port} of ${host}: ${why}. Choose another --health-port, or leave --health-host out for 127.0.0.1.`,
    { details: { host, port }, cause: error },
  );
}
