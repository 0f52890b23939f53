import { isIP } from 'node:net';
import type { Client, ConnectionOptions } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { SoftflowError } from '../errors.ts';
import { probeTls } from './tls-probe.ts';

/** Where the Temporal server is and how to speak to it. */
export interface TemporalTarget {
  address: string;
  namespace: string;
  tls?: ConnectionOptions['tls'];
  apiKey?: string;
}

/** Names the variable that allows a server on another machine without TLS. */
const INSECURE = 'SOFTFLOW_INSECURE';
const CONNECT_TIMEOUT = '10 seconds';
/** gRPC's statuses 16 and 7, as both of the SDK's clients spell them. */
const DENIED = /unauthenticated|permission.?denied|valid authentication credentials|does not have permission/i;

/**
 * The server that Temporal's own environment configuration names (variables, profiles of `temporal.toml`); undefined when
 * it names none, which is when the embedded server is meant.
 *
 * @throws SoftflowError `TEMPORAL_CONFIG_INVALID`, `TEMPORAL_INSECURE`
 */
export function configuredTarget(env: Record<string, string | undefined> = process.env): TemporalTarget | undefined {
  const { connectionOptions, namespace } = readConfig(env);
  const { address, tls, apiKey } = connectionOptions;
  if (!address) return undefined;
  requireSafe(address, tls, env);
  return {
    address,
    namespace: namespace ?? 'default',
    ...(tls === undefined || tls === null ? {} : { tls }),
    ...(typeof apiKey === 'string' ? { apiKey } : {}),
  };
}

/**
 * A client whose payloads are encrypted where the environment names keys.
 *
 * @throws SoftflowError `TEMPORAL_UNREACHABLE` when nothing answers in time, retryable; `TEMPORAL_TLS_FAILED`,
 * `TEMPORAL_DENIED`, `ENCRYPTION_KEYS_INVALID`
 */
export async function connect(
  target: TemporalTarget,
  connectTimeout: NonNullable<ConnectionOptions['connectTimeout']> = CONNECT_TIMEOUT,
): Promise<Client> {
  // Loaded here only: most of a command's start-up, and many a command finds no server.
  const [{ Client, Connection }, { dataConverter }, { traceHeader }] = await Promise.all([
    import('@temporalio/client'),
    import('../encryption/data-converter.ts'),
    import('./trace-header.ts'),
  ]);
  const converter = dataConverter();
  const { namespace, ...options } = target;
  await probeTls(target);
  const connection = await Connection.connect({ ...options, connectTimeout }).catch((cause: Error) => {
    throw unreachable(target.address, cause);
  });
  return new Client({ connection, namespace, dataConverter: converter, interceptors: { workflow: [traceHeader] } });
}

/** Why a first call failed: nobody answers, or somebody who does not know us. */
export function unreachable(address: string, cause: unknown): SoftflowError {
  const reason = reasonOf(cause);
  if (DENIED.test(reason))
    return new SoftflowError(
      'TEMPORAL_DENIED',
      `The Temporal server at ${address} refuses this client (${reason}). Check TEMPORAL_API_KEY and TEMPORAL_NAMESPACE, or the ` +
        'profile, and what the key may do.',
      { details: { address }, cause },
    );
  return new SoftflowError(
    'TEMPORAL_UNREACHABLE',
    `No Temporal server answers at ${address} (${reason}). Start it, correct TEMPORAL_ADDRESS or the profile, or unset ` +
      'it to use the embedded server.',
    { retryable: true, details: { address }, cause },
  );
}

/** The SDK's own error says only that it failed; why is what caused it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message;
}

function readConfig(env: Record<string, string | undefined>) {
  try {
    const set = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return loadClientConnectConfig({ overrideEnvVars: Object.fromEntries(set) });
  } catch (cause) {
    // Below its first line a parser quotes the file, which may hold an API key: neither text nor cause go further.
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
    throw new SoftflowError(
      'TEMPORAL_CONFIG_INVALID',
      `Temporal's environment configuration cannot be read: ${reason}. Correct the TEMPORAL_* variables or temporal.toml.`,
    );
  }
}

function requireSafe(address: string, tls: unknown, env: Record<string, string | undefined>): void {
  if (tls || isLoopback(address) || ['1', 'true'].includes(env[INSECURE] ?? '')) return;
  throw new SoftflowError(
    'TEMPORAL_INSECURE',
    `The Temporal server at ${address} is on another machine, and TLS is off. Configure TLS (TEMPORAL_TLS=true, or ` +
      `certificates in the profile), or set ${INSECURE}=1 if the network itself is trusted.`,
    { details: { address } },
  );
}

/** Whether an address `host:port` stays on this machine. */
export function isLoopback(address: string): boolean {
  const [, bracketed] = /^\[(.*)\](?::\d+)?$/.exec(address) ?? [];
  const host = (bracketed ?? (isIP(address) === 6 ? address : address.replace(/:\d+$/, ''))).toLowerCase();
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
