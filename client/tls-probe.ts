import { connect as connectTls, type SecureVersion, type TLSSocket } from 'node:tls';
import { SoftflowError } from '../errors.ts';
import type { TemporalTarget } from './connect.ts';

const PATIENCE_MS = 5000;
const OLDEST: SecureVersion = 'TLSv1.2';
/** An HTTP/2 client's first words: the preface and empty settings. A server that takes our certificate answers them. */
const HELLO = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

/**
 * One TLS handshake ahead of the first call: gRPC would try a refused certificate again until its deadline, and then say
 * only that time is up. A server that cannot be reached, or keeps silent, is left for the call itself to find.
 *
 * @throws SoftflowError `TEMPORAL_TLS_FAILED`
 */
export async function probeTls(target: TemporalTarget): Promise<void> {
  if (!target.tls) return;
  const reason = await handshake(target);
  if (reason) throw refused(target.address, reason);
}

/** Why the handshake failed; undefined when it did not, or when this cannot be told. */
function handshake({ address, tls }: TemporalTarget): Promise<{ code: string; message: string } | undefined> {
  const options = typeof tls === 'object' ? tls : null;
  const { host, port } = placeOf(address);
  return new Promise((resolve) => {
    let socket: TLSSocket | undefined;
    const end = (reason?: { code: string; message: string }) => {
      socket?.destroy();
      resolve(reason);
    };
    try {
      socket = connectTls({
        host,
        port,
        servername: options?.serverNameOverride ?? host,
        minVersion: OLDEST,
        ALPNProtocols: ['h2'],
        ...(options?.serverRootCACertificate ? { ca: Buffer.from(options.serverRootCACertificate) } : {}),
        ...(options?.clientCertPair
          ? { cert: Buffer.from(options.clientCertPair.crt), key: Buffer.from(options.clientCertPair.key) }
          : {}),
      });
    } catch (error) {
      return end(error as { code: string; message: string });
    }
    socket.setTimeout(PATIENCE_MS, () => end());
    let shaken = false;
    socket.on('secureConnect', () => {
      shaken = true;
      socket?.write(HELLO);
    });
    socket.on('data', () => end());
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(isOfNetwork(error) ? undefined : { code: error.code ?? '', message: error.message }),
    );
    // Some servers look at the client certificate after the handshake, and hang up without a word.
    socket.on('close', () => end(shaken ? { code: 'CLOSED', message: 'closed' } : undefined));
  });
}

/** Nothing there, or nobody listens: not a matter of certificates. */
const isOfNetwork = ({ code, syscall }: NodeJS.ErrnoException) =>
  syscall === 'connect' || syscall === 'getaddrinfo' || code === 'ETIMEDOUT';

function placeOf(address: string): { host: string; port: number } {
  const [, bracketed, plain, port] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(address) ?? [];
  return { host: bracketed ?? plain ?? address, port: Number(port ?? 7233) };
}

/** What OpenSSL's words mean to whoever configured this side. */
const MEANINGS: readonly [pattern: RegExp, meaning: string][] = [
  [
    /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|CERT_UNTRUSTED|SIGNATURE_FAILURE/,
    'its certificate is not signed by an authority that is trusted here; name the right one in TEMPORAL_TLS_SERVER_CA_CERT_PATH',
  ],
  [/CERT_HAS_EXPIRED/, 'its certificate has expired'],
  [/CERT_NOT_YET_VALID/, 'its certificate is not valid yet; compare the clocks'],
  [
    /ALTNAME_INVALID/,
    'its certificate is for another name; correct the address, or name what it is for in TEMPORAL_TLS_SERVER_NAME',
  ],
  [
    /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_(EXPIRED|UNKNOWN|REVOKED)|ECONNRESET|^CLOSED/i,
    'it refuses the client certificate, or wants one; see TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH',
  ],
  [/WRONG_VERSION|PACKET_LENGTH|PROTOCOL/, 'it does not speak TLS there; correct the port, or leave TLS off'],
  [/PEM|KEY_VALUES_MISMATCH|ASN1/, 'a certificate or key that is configured here cannot be used'],
];

function refused(address: string, { code, message }: { code: string; message: string }): SoftflowError {
  const meaning = MEANINGS.find(([pattern]) => pattern.test(code))?.[1] ?? message;
  return new SoftflowError(
    'TEMPORAL_TLS_FAILED',
    `The TLS handshake with the Temporal server at ${address} failed: ${meaning} (${code || message}).`,
    {
      details: { address, code },
    },
  );
}
