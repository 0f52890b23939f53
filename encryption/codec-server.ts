import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Payload, PayloadCodec } from '@temporalio/common';
import * as z from 'zod';
import { SoftflowError } from '../errors.ts';

export interface CodecServerOptions {
  codec: PayloadCodec;
  /** Address to listen on. @default '127.0.0.1' */
  address?: string;
  /** 0: any free one. @default 8471 */
  port?: number;
  /** Web pages that may ask: `http://127.0.0.1:8233`. Programs send no origin and need none. @default none */
  origins?: readonly string[];
  /** Asked for as `Authorization: Bearer <token>`. */
  token?: string;
  /** Certificate and key in PEM. */
  tls?: { cert: string; key: string };
}

export interface RunningCodecServer {
  url: string;
  close(): Promise<void>;
}

export const DEFAULT_PORT = 8471;
export const MAX_BODY_BYTES = 16 * 2 ** 20;
const MAX_AGE_SECONDS = 600;

const Base64 = z.string().regex(/^[A-Za-z0-9+/_-]*={0,2}$/);
/** Payloads in protobuf's JSON form, which is what Temporal's UI and CLI send. */
const Body = z.object({
  payloads: z.array(z.object({ metadata: z.record(z.string(), Base64).default({}), data: Base64.default('') })),
});

/** A request that is answered with a status and a sentence. */
class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Serves `POST /encode` and `POST /decode` to Temporal's UI and CLI, so that people read what is encrypted while the server
 * never holds a key. Nothing of what passes is kept or logged.
 *
 * @throws SoftflowError `CODEC_CANNOT_LISTEN`
 */
export async function startCodecServer(options: CodecServerOptions): Promise<RunningCodecServer> {
  const { address = '127.0.0.1', port = DEFAULT_PORT, tls } = options;
  const listener: RequestListener = (request, response) => void respond(request, response, options);
  const server = tls ? createTlsServer({ ...tls, minVersion: 'TLSv1.2' }, listener) : createServer(listener);
  server.maxConnections = 256;
  const bound = await listen(server, address, port);
  return {
    url: `${tls ? 'https' : 'http'}://${address.includes(':') ? `[${address}]` : address}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function respond(request: IncomingMessage, response: ServerResponse, options: CodecServerOptions): Promise<void> {
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  try {
    allowOrigin(request, response, options.origins ?? []);
    if (request.method === 'OPTIONS') return end(response, 204, '');
    const work = await workOf(request, options);
    end(response, 200, JSON.stringify({ payloads: (await work()).map(toJson) }));
  } catch (error) {
    const status = error instanceof Refusal ? error.status : error instanceof SoftflowError ? 400 : 500;
    const message = status === 500 ? 'The codec server failed.' : (error as Error).message;
    if (!response.headersSent) end(response, status, JSON.stringify({ message }));
    // What is left of a body that was refused is not read.
    if (status === 413) request.destroy();
  }
}

/** A page's request carries its origin, also when the page had its own name resolved to this machine. */
function allowOrigin(
  { headers: { origin } }: IncomingMessage,
  response: ServerResponse,
  origins: readonly string[],
): void {
  if (origin === undefined) return;
  response.setHeader('vary', 'origin');
  if (!origins.includes(origin))
    throw new Refusal(
      403,
      'This origin may not ask here. Start the codec server with --origin for the address of the Temporal UI.',
    );
  response.setHeader('access-control-allow-origin', origin);
  response.setHeader('access-control-allow-methods', 'POST, OPTIONS');
  response.setHeader('access-control-allow-headers', 'content-type, x-namespace, authorization');
  response.setHeader('access-control-allow-credentials', 'true');
  response.setHeader('access-control-max-age', String(MAX_AGE_SECONDS));
}

async function workOf(
  request: IncomingMessage,
  { codec, token }: CodecServerOptions,
): Promise<() => Promise<Payload[]>> {
  const path = request.url?.split('?')[0];
  if (path !== '/encode' && path !== '/decode') throw new Refusal(404, 'There are /encode and /decode.');
  if (request.method !== 'POST') throw new Refusal(405, 'Expected POST.');
  if (token !== undefined && !isSame(request.headers.authorization, `Bearer ${token}`))
    throw new Refusal(401, 'Expected "Authorization: Bearer <token>" with the token of this codec server.');
  const payloads = parseBody(await readBody(request));
  return () => (path === '/encode' ? codec.encode(payloads) : codec.decode(payloads));
}

/** In a time that tells nothing about where two texts differ. */
function isSame(given: string | undefined, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given ?? ''), digest(expected));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Refusal(413, `Expected at most ${MAX_BODY_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseBody(text: string): Payload[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Refusal(400, 'Expected JSON.');
  }
  const parsed = Body.safeParse(json);
  if (!parsed.success) throw new Refusal(400, 'Expected {"payloads": [{"metadata": {...}, "data": "..."}]} in base64.');
  return parsed.data.payloads.map(({ metadata, data }) => ({
    metadata: Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, Buffer.from(value, 'base64')])),
    data: Buffer.from(data, 'base64'),
  }));
}

const base64 = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString('base64');

function toJson({ metadata, data }: Payload): unknown {
  const entries = Object.entries(metadata ?? {}).map(([name, value]) => [name, base64(value)]);
  return { metadata: Object.fromEntries(entries), data: base64(data) };
}

function end(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(body);
}

function listen(server: Server, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new SoftflowError(
          'CODEC_CANNOT_LISTEN',
          `The codec server cannot listen on ${address}:${port} (${cause.code ?? cause.message}). Choose another --port or --host.`,
          { cause, details: { address, port } },
        ),
      ),
    );
    server.listen(port, address, () => resolve((server.address() as AddressInfo).port));
  });
}
