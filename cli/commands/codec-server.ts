import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { isLoopback } from '../../client/connect.ts';
import { startCodecServer } from '../../encryption/codec-server.ts';
import { encryptionKeys, KEYS_VARIABLE } from '../../encryption/keys.ts';
import { EncryptionCodec } from '../../encryption/payload-codec.ts';
import { SoftflowError } from '../../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { parsePort } from '../port.ts';
import { oneLine, type Terminal } from '../terminal.ts';

export interface CodecServerCommandOptions {
  port: string;
  host: string;
  origin: string[];
  tokenEnv?: string;
  tlsCert?: string;
  tlsKey?: string;
  json?: boolean;
}

/** Serves until Ctrl-C or SIGTERM. */
export async function codecServer(options: CodecServerCommandOptions, terminal: Terminal): Promise<number> {
  const keys = encryptionKeys();
  if (keys.length === 0) throw usage(`${KEYS_VARIABLE} names no key, so there is nothing to decode.`);
  const token = tokenOf(options.tokenEnv);
  const tls = tlsOf(options);
  requireSafe(options.host, token, tls !== undefined);
  const running = await startCodecServer({
    codec: new EncryptionCodec(keys),
    port: parsePort('--port', options.port),
    address: options.host,
    origins: options.origin.map(originOf),
    ...(token === undefined ? {} : { token }),
    ...(tls ? { tls } : {}),
  });
  try {
    const ids = keys.map(({ id }) => id).join(', ');
    if (options.json) terminal.out(JSON.stringify({ url: running.url, keys: keys.map(({ id }) => id) }));
    else terminal.out(`${running.url}  codec endpoint for keys ${ids}; Ctrl-C ends it`);
    await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
    return EXIT.ok;
  } finally {
    await running.close();
  }
}

/** @throws SoftflowError `USAGE` */
function tokenOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const token = process.env[name];
  if (token) return token;
  throw usage('--token-env: expected the name of a variable that holds the token; that variable is not set.');
}

function tlsOf({ tlsCert, tlsKey }: CodecServerCommandOptions): { cert: string; key: string } | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) throw usage('--tls-cert and --tls-key belong together.');
  const read = (option: string, path: string) => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      throw usage(`${option} ${oneLine(path, 80)}: ${(error as Error).message}`);
    }
  };
  return { cert: read('--tls-cert', tlsCert), key: read('--tls-key', tlsKey) };
}

/** Whoever may ask here can read every payload, so beyond this machine nobody asks in clear or without a token. */
function requireSafe(host: string, token: string | undefined, tls: boolean): void {
  if (isLoopback(host) || (token !== undefined && tls)) return;
  throw usage(
    `--host ${oneLine(host, 80)} is not of this machine alone: --token-env, --tls-cert and --tls-key are needed there. Behind a ` +
      'proxy on this machine that ends TLS, leave --host out.',
  );
}

function originOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && url.origin === text.replace(/\/$/, '')) return url.origin;
  throw usage(`--origin ${oneLine(text, 80)}: expected an origin such as http://127.0.0.1:8233.`);
}

const usage = (message: string) => new SoftflowError('USAGE', message);
