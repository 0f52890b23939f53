import { once } from 'node:events';
import { startUi } from '../../ui/server.ts';
import { EXIT } from '../exit-codes.ts';
import { parsePort } from '../port.ts';
import { findTarget, STORE_FOLDER } from '../session.ts';
import type { Terminal } from '../terminal.ts';
import { LastingSource } from '../ui-source.ts';

export interface UiCommandOptions {
  port: string;
  host: string;
  json?: boolean;
}

/** Serves the page until Ctrl-C or SIGTERM. */
export async function ui({ port, host, json }: UiCommandOptions, terminal: Terminal): Promise<number> {
  const source = new LastingSource({ storeRoot: STORE_FOLDER, findTarget });
  const running = await startUi(source, { port: parsePort('--port', port), address: host });
  // Listened for before the address is told: whoever reads that may end it at once.
  const ended = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  try {
    if (json) terminal.out(JSON.stringify({ url: running.url }));
    else terminal.out(`${running.url}  read only; Ctrl-C ends it`);
    if (!isLoopback(host))
      terminal.err('Whoever reaches this address can read the runs of this folder: there is no password.');
    await ended;
    return EXIT.ok;
  } finally {
    await running.close();
    await source.close();
  }
}

const isLoopback = (host: string): boolean => ['127.0.0.1', 'localhost', '::1'].includes(host);
