import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SoftflowError } from '../errors.ts';
import { allowedHosts } from './hosts.ts';
import { type LivePart, pageHtml } from './layout.ts';
import { sendLive } from './live.ts';
import { type Answer, answer, errorPage } from './routes.ts';
import { UI_ICON, UI_SCRIPT } from './script.ts';
import type { UiSource } from './source.ts';
import { UI_STYLE } from './style.ts';

export interface UiOptions {
  /** Address to listen on. @default '127.0.0.1' */
  address?: string;
  /** 0: any free one. @default 8470 */
  port?: number;
  /** How often a page that is looked at asks for news. @default 1000 */
  pollMs?: number;
}

export interface RunningUi {
  url: string;
  close(): Promise<void>;
}

export const DEFAULT_PORT = 8470;
/** So many pages may follow something at once. */
const MAX_FOLLOWERS = 64;

const ASSETS: Record<string, { type: string; text: string }> = {
  '/style.css': { type: 'text/css', text: UI_STYLE },
  '/live.js': { type: 'text/javascript', text: UI_SCRIPT },
  '/icon.svg': { type: 'image/svg+xml', text: UI_ICON },
};

const PAGE_POLICY =
  "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/** A report is a file that may come from elsewhere: it runs nothing and asks for nothing, whatever it holds. */
const REPORT_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * Serves the page, read only.
 *
 * @throws SoftflowError `UI_CANNOT_LISTEN`
 */
export async function startUi(source: UiSource, options: UiOptions = {}): Promise<RunningUi> {
  const { address = '127.0.0.1', port = DEFAULT_PORT, pollMs = 1000 } = options;
  const pages = new Pages(source, pollMs);
  const server = createServer((request, response) => void pages.handle(request, response));
  server.maxConnections = 256;
  const bound = await listen(server, address, port);
  pages.hosts = allowedHosts(address, bound);
  return {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${bound}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

class Pages {
  /** None until the port is known. */
  hosts: ReadonlySet<string> = new Set();
  readonly #source: UiSource;
  readonly #pollMs: number;
  #followers = 0;

  constructor(source: UiSource, pollMs: number) {
    this.#source = source;
    this.#pollMs = pollMs;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    setHeaders(response, PAGE_POLICY);
    const refused = refusal(request, this.hosts);
    if (refused) return end(response, refused.status, 'text/plain', refused.text);
    try {
      await this.#respond(request, response);
    } catch (error) {
      const known = error instanceof SoftflowError;
      const page = errorPage(known ? error.code : 'Error', error instanceof Error ? error.message : String(error));
      if (!response.headersSent) endPage(response, known ? 409 : 500, page);
      else response.end();
    }
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = parseUrl(request.url);
    if (!url) return end(response, 400, 'text/plain', 'This is no address.');
    const asset = ASSETS[url.pathname];
    if (asset) return end(response, 200, asset.type, asset.text);
    const found = await answer(this.#source, url);
    if (found.kind === 'events' && request.method === 'GET') return this.#follow(response, found.look);
    endAnswer(response, found);
  }

  async #follow(response: ServerResponse, look: () => Promise<LivePart>): Promise<void> {
    if (this.#followers >= MAX_FOLLOWERS) return end(response, 503, 'text/plain', 'Too many pages follow already.');
    this.#followers++;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    await sendLive(response, look, this.#pollMs).finally(() => {
      this.#followers--;
    });
  }
}

function setHeaders(response: ServerResponse, policy: string): void {
  response.setHeader('content-security-policy', policy);
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('referrer-policy', 'no-referrer');
  response.setHeader('cross-origin-resource-policy', 'same-origin');
  response.setHeader('cross-origin-opener-policy', 'same-origin');
  response.setHeader('cache-control', 'no-store');
}

function refusal(request: IncomingMessage, hosts: ReadonlySet<string>): { status: number; text: string } | undefined {
  if (!hosts.has((request.headers.host ?? '').toLowerCase()))
    return { status: 421, text: 'This page is served under the address that softflow ui printed, and no other name.' };
  if (request.method !== 'GET' && request.method !== 'HEAD') return { status: 405, text: 'This page is read only.' };
  return undefined;
}

/** Undefined for what is no path, or holds a broken escape. */
function parseUrl(path = ''): URL | undefined {
  try {
    const url = new URL(path, 'http://page');
    decodeURIComponent(url.pathname);
    return url;
  } catch {
    return undefined;
  }
}

function endAnswer(response: ServerResponse, found: Answer): void {
  if (found.kind === 'page') endPage(response, found.status, found.page);
  else if (found.kind === 'events') end(response, 200, 'text/event-stream', '');
  else {
    setHeaders(response, REPORT_POLICY);
    end(response, 200, 'text/html', found.html);
  }
}

const endPage = (response: ServerResponse, status: number, page: Parameters<typeof pageHtml>[0]): void =>
  end(response, status, 'text/html', pageHtml(page));

/** Node leaves the body of an answer to HEAD out by itself. */
function end(response: ServerResponse, status: number, type: string, body: string | Uint8Array): void {
  response.writeHead(status, { 'content-type': `${type}; charset=utf-8` });
  response.end(body);
}

function listen(server: Server, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(cannotListen(error, address, port)));
    server.listen(port, address, () => resolve((server.address() as AddressInfo).port));
  });
}

function cannotListen(error: NodeJS.ErrnoException, address: string, port: number): SoftflowError {
  const [why, next] =
    error.code === 'EADDRINUSE'
      ? ['the port is taken, perhaps by another softflow ui', 'softflow ui --port 0 takes a free one']
      : [error.message, 'softflow ui without --host listens on 127.0.0.1'];
  return new SoftflowError('UI_CANNOT_LISTEN', `Cannot listen on port ${port} of ${address}: ${why}. Next: ${next}.`, {
    details: { address, port },
    cause: error,
  });
}
